"""Recurrent cells of Flax, of its NNX and Linen interfaces, and back.

Flax has matrices transposed, and in each cell the one bias that is needed; in NNX a GRU lacks the
recurrent bias of n, which is inside the reset.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._arrays import checks as check
from .._arrays.namespace import Array, Namespace
from ..cells import GRU, LSTM, Cell, Elman
from ..model import RNN
from .gates import Host, checked, converted, imported, on_host, refuse_options

__all__ = ["from_flax", "to_flax"]

GATES = {"elman": ("",), "gru": ("r", "z", "n"), "lstm": ("i", "f", "g", "o")}
CELLS: dict[Cell, str] = {Elman(): "elman", GRU(): "gru", LSTM(): "lstm"}
NNX = {"elman": "SimpleCell", "gru": "GRUCell", "lstm": "OptimizedLSTMCell"}


@check.named_options
def from_flax(source: Any, *, xp: Namespace | None = None) -> tuple[RNN, dict[str, Array]]:
    """Convert a recurrent cell of Flax: a description, and a copy of its parameters.

    Parameters
    ----------
    source : flax.nnx.Module, or dict
        ``SimpleCell``, ``GRUCell``, ``LSTMCell`` or ``OptimizedLSTMCell`` of NNX; or the parameters
        of such a cell of Linen, with its own functions tanh and sigmoid.
    xp : module, optional
        Library of the parameters, such as ``jax.numpy``; NumPy by default.

    Returns
    -------
    model : RNN
        Of one layer, with sequences (T, B, I).
    params : dict of str to array

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or `RNN` has no counterpart; the message names it.
    ImportError
        If Flax is not installed.

    Examples
    --------
    >>> from flax import nnx
    >>> from portable_rnn.interop import from_flax
    >>> model, params = from_flax(nnx.GRUCell(3, 4, rngs=nnx.Rngs(0)))
    >>> model.cell, params["weight_ih_l0"].shape
    ('gru', (12, 3))
    """
    if isinstance(source, Mapping):
        cell, found = _of_linen(source)
    else:
        cell, found = _of_nnx(imported("flax.nnx"), source)
    rows, inputs = found["weight_ih_l0"].shape
    model = RNN(inputs, rows // len(GATES[cell]), cell=cell)
    return converted(model, found, xp)


@check.named_options
def to_flax(model: RNN, params: Mapping[str, Array], *, api: str = "nnx") -> Any:
    """Convert a network of one layer to a cell of Flax, with a copy of its parameters.

    Parameters
    ----------
    model : RNN
    params : dict of str to array
        Of any library.
    api : {"nnx", "linen"}

    Returns
    -------
    flax.nnx.Module, or dict
        A cell of NNX, ``SimpleCell``, ``GRUCell`` or ``OptimizedLSTMCell``; or the parameters of
        such a cell of Linen.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or Flax has no counterpart of an option or, in NNX, of the
        recurrent bias of a GRU's n; the message names it.
    ImportError
        If Flax is not installed.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> from portable_rnn.interop import to_flax
    >>> model = prnn.RNN(3, 4, cell="lstm")
    >>> sorted(to_flax(model, model.init(seed=0), api="linen"))
    ['hf', 'hg', 'hi', 'ho', 'if', 'ig', 'ii', 'io']
    """
    check.choice("api", api, ("nnx", "linen"))
    nnx = imported("flax.nnx")
    without: dict[str, Any] = {"num_layers": 1, "bidirectional": False, "bias": True}
    without |= {"reverse": False, "output_size": None, "vocabulary_size": None, "pool": None}
    given = checked(model, params, "a cell of Flax", list(CELLS), projection_size=None, **without)
    cell = CELLS[model.cell_object]
    w_ih, w_hh, b_ih, b_hh = (given[name] for name in model.parameter_shapes)
    if cell == "gru":  # of the biases of n, the recurrent one stays apart
        size = 2 * model.hidden_size
        b_hn, b_hh = b_hh[size:], np.concatenate([b_hh[:size], np.zeros_like(b_hh[size:])])
        if api == "nnx" and b_hn.any():
            raise ValueError(
                "params: bias_hh_l0 has rows of n that are not 0, which have no counterpart in "
                "flax.nnx.GRUCell; give api='linen'"
            )
    bias = b_ih + b_hh
    if api == "nnx":
        rngs, dtype = nnx.Rngs(0), w_ih.dtype
        kind = getattr(nnx, NNX[cell])
        made = kind(model.input_size, model.hidden_size, param_dtype=dtype, dtype=dtype, rngs=rngs)
        jnp = imported("jax.numpy")
        made.dense_i.kernel.set_value(jnp.asarray(w_ih.T))
        made.dense_h.kernel.set_value(jnp.asarray(w_hh.T))
        (made.dense_h if cell == "lstm" else made.dense_i).bias.set_value(jnp.asarray(bias))
        return made
    gates = GATES[cell]
    found: dict[str, dict[str, Host]] = {}
    for i, gate in enumerate(gates):
        rows = slice(i * model.hidden_size, (i + 1) * model.hidden_size)
        found[f"i{gate}"], found[f"h{gate}"] = {"kernel": w_ih[rows].T}, {"kernel": w_hh[rows].T}
        found[f"{'h' if cell == 'lstm' else 'i'}{gate}"]["bias"] = bias[rows]
    if cell == "gru":
        found["hn"]["bias"] = b_hn
    return found


def _of_nnx(nnx: Any, source: Any) -> tuple[str, dict[str, Host]]:
    """Return the cell and parameters of a module of NNX."""
    kinds = {
        "SimpleCell": "elman",
        "GRUCell": "gru",
        "LSTMCell": "lstm",
        "OptimizedLSTMCell": "lstm",
    }
    kind = type(source).__name__
    if kind not in kinds or type(source) is not getattr(nnx, kind):
        raise TypeError(
            f"source: expected {', '.join(kinds)} of flax.nnx, or the parameters of a cell of "
            f"flax.linen, got {check.said(source)}"
        )
    refuse_options(source, "source", "RNN", residual=False)
    jax = imported("jax")
    functions = {"activation_fn": jax.numpy.tanh, "gate_fn": jax.nn.sigmoid}
    for option, function in functions.items():
        got = getattr(source, option, function)
        if got not in (function, getattr(nnx, function.__name__, None)):
            raise ValueError(f"source: {option}={got} has no counterpart in RNN")

    def array(variable: Any) -> Host:
        return on_host("source", variable.get_value())

    if kind == "LSTMCell":
        parts = {
            f"{end}{gate}": {
                name: array(variable)
                for name in ("kernel", "bias")
                if (variable := getattr(getattr(source, _own(f"{end}{gate}")), name)) is not None
            }
            for end in "ih"
            for gate in GATES["lstm"]
        }
        return _of_linen(parts)
    found = {
        "weight_ih_l0": array(source.dense_i.kernel).T,
        "weight_hh_l0": array(source.dense_h.kernel).T,
    }
    zero = np.zeros_like(found["weight_ih_l0"][:, 0])
    for end in "ih":
        bias = getattr(source, f"dense_{end}").bias
        has = bias is not None and bias.get_value() is not None
        found[f"bias_{end}h_l0"] = array(bias) if has else zero
    return kinds[kind], found


def _own(name: str) -> str:
    return "if_" if name == "if" else name  # a word of Python


def _of_linen(source: Mapping[str, Any]) -> tuple[str, dict[str, Host]]:
    """Return the cell and parameters of the parameters of a cell of Linen."""
    names = {cell: {f"{end}{gate}" for end in "ih" for gate in of} for cell, of in GATES.items()}
    if not (cells := [cell for cell, of in names.items() if source.keys() == of]):
        raise ValueError(
            "source: expected the parameters of SimpleCell, GRUCell, LSTMCell or OptimizedLSTMCell "
            f"of flax.linen, got a dict with {', '.join(map(str, source)) or 'nothing'}"
        )
    found, gates = {}, GATES[cells[0]]
    for end in "ih":
        parts = [source[f"{end}{gate}"] for gate in gates]
        if not all(isinstance(part, Mapping) and "kernel" in part for part in parts):
            raise ValueError(
                f"source: expected a kernel in each part, got none in some {end} of it"
            )
        kernels = [on_host("source", part["kernel"]) for part in parts]
        biases = [
            on_host("source", part["bias"]) if "bias" in part else np.zeros_like(kernel[0])
            for part, kernel in zip(parts, kernels, strict=True)
        ]
        found[f"weight_{end}h_l0"] = np.concatenate([kernel.T for kernel in kernels])
        found[f"bias_{end}h_l0"] = np.concatenate(biases)
    return cells[0], found
