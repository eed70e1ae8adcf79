"""Recurrent cells of Equinox, and back.

Gates and matrices are torch's; there is one bias, and in a GRU another, of n, inside the reset.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._arrays import checks as check
from .._arrays.namespace import Array, Namespace
from ..cells import GRU, LSTM
from ..model import RNN
from .gates import checked, converted, imported, on_host

__all__ = ["from_equinox", "to_equinox"]


@check.named_options
def from_equinox(source: Any, *, xp: Namespace | None = None) -> tuple[RNN, dict[str, Array]]:
    """Convert a recurrent cell of Equinox: a description, and a copy of its parameters.

    Parameters
    ----------
    source : equinox.nn.GRUCell or LSTMCell
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
        If an argument does not fit; the message names it.
    ImportError
        If Equinox is not installed.

    Examples
    --------
    >>> import equinox as eqx
    >>> import jax
    >>> from portable_rnn.interop import from_equinox
    >>> model, params = from_equinox(eqx.nn.LSTMCell(3, 4, key=jax.random.key(0)))
    >>> model.cell, params["weight_ih_l0"].shape
    ('lstm', (16, 3))
    """
    nn = imported("equinox").nn
    cells = {nn.GRUCell: "gru", nn.LSTMCell: "lstm"}
    if type(source) not in cells:
        raise TypeError(
            f"source: expected equinox.nn.GRUCell or LSTMCell, got {check.said(source)}"
        )
    model = RNN(
        *(source.input_size, source.hidden_size), cell=cells[type(source)], bias=source.use_bias
    )
    names = ("weight_ih", "weight_hh", *(("bias",) if source.use_bias else ()))
    w_ih, w_hh, *bias = (on_host(f"source: {name}", getattr(source, name)) for name in names)
    found = {"weight_ih_l0": w_ih, "weight_hh_l0": w_hh}
    if bias:
        found |= {"bias_ih_l0": bias[0], "bias_hh_l0": np.zeros_like(bias[0])}
        if model.cell == "gru":
            found["bias_hh_l0"][2 * model.hidden_size :] = on_host("source", source.bias_n)
    return converted(model, found, xp)


@check.named_options
def to_equinox(model: RNN, params: Mapping[str, Array]) -> Any:
    """Convert a network of one layer to a cell of Equinox, with a copy of its parameters.

    Parameters
    ----------
    model : RNN
        With a GRU or LSTM cell.
    params : dict of str to array
        Of any library.

    Returns
    -------
    equinox.nn.GRUCell or LSTMCell

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or Equinox has no counterpart of an option; the message names
        it.
    ImportError
        If Equinox is not installed.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> from portable_rnn.interop import to_equinox
    >>> model = prnn.RNN(3, 4, cell="gru")
    >>> to_equinox(model, model.init(seed=0)).bias_n.shape
    (4,)
    """
    eqx, jax = imported("equinox"), imported("jax")
    without = {"num_layers": 1, "bidirectional": False, "reverse": False, "projection_size": None}
    without |= {"output_size": None, "vocabulary_size": None, "pool": None}
    given = checked(model, params, "a cell of Equinox", (GRU(), LSTM()), **without)
    cell = eqx.nn.GRUCell if model.cell_object == GRU() else eqx.nn.LSTMCell
    dtype = given["weight_ih_l0"].dtype
    options = {"use_bias": model.bias, "key": jax.random.key(0), "dtype": dtype}
    made = cell(model.input_size, model.hidden_size, **options)
    values = {"weight_ih": given["weight_ih_l0"], "weight_hh": given["weight_hh_l0"]}
    if model.bias:
        recurrent = given["bias_hh_l0"].copy()
        if cell is eqx.nn.GRUCell:
            inside = slice(2 * model.hidden_size, None)
            values["bias_n"], recurrent[inside] = given["bias_hh_l0"][inside], 0
        values["bias"] = given["bias_ih_l0"] + recurrent
    arrays = [jax.numpy.asarray(array) for array in values.values()]
    return eqx.tree_at(lambda one: [getattr(one, name) for name in values], made, arrays)
