"""One recurrent operator of ONNX, and the layer that it is here.

ONNX stacks the directions in one array and has the gates in another order; both have two biases,
also of a GRU that resets before the product.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .._arrays import checks as check
from ..cells import GRU, LSTM, Cell, Elman, ResetBeforeGRU
from ..model import RNN
from ..nonlinearities import NAMES, Activation, checked, numbers_of
from .gates import Host, by_name, in_order

__all__ = ["OPERATORS", "Layer", "attributes_of", "layer_of", "parts_of"]

# The gates of each operator in ONNX's order, and in ours; of an LSTM whose forget gate is coupled,
# ours are fewer. Its peepholes are in ONNX's order i, o, f.
OPERATORS = {"RNN": ("h", "h"), "GRU": ("zrn", "rzn"), "LSTM": ("iofg", "ifgo")}
PEEPHOLES = ("iof", "ifo")
DEFAULTS = {
    "RNN": ("Tanh",),
    "GRU": ("Sigmoid", "Tanh"),
    "LSTM": ("Sigmoid", "Tanh", "Tanh"),
}
ONNX_NAMES = {name: "".join(word.capitalize() for word in name.split("_")) for name in NAMES}
OUR_NAMES = {onnx.lower(): name for name, onnx in ONNX_NAMES.items()}
KNOWN = {
    *("activations", "activation_alpha", "activation_beta", "clip", "direction", "hidden_size"),
    *("layout", "linear_before_reset", "input_forget", "output_sequence"),
}


class Layer(NamedTuple):
    """A recurrent operator: options of `RNN`, and the parameters of one layer, without its number.

    Attributes
    ----------
    options : dict
    params : dict of str to NumPy array
        By names without the layer, such as ("weight_ih", "_reverse").
    """

    options: dict[str, Any]
    params: dict[tuple[str, str], Host]


def layer_of(
    name: str, operator: str, attributes: Mapping[str, Any], arrays: Sequence[Host | None]
) -> Layer:
    """Return what an operator of the name ``name`` is, with its arrays W, R, B and P."""
    w, r, b, p = arrays
    if unknown := sorted(attributes.keys() - KNOWN):
        raise ValueError(f"{name}: attribute {unknown[0]} has no counterpart")
    if w is None or r is None or w.ndim != 3 or r.ndim != 3:
        raise ValueError(f"{name}: expected W and R of three axes")
    direction = _text(attributes.get("direction", "forward"))
    if direction not in ("forward", "reverse", "bidirectional"):
        raise ValueError(f"{name}: direction {direction!r} has no counterpart")
    ends = ("", "_reverse") if direction == "bidirectional" else ("",)
    theirs, ours = OPERATORS[operator]
    size, gates = r.shape[-1], len(theirs)
    shapes = {
        "W": (w, (len(ends), gates * size, w.shape[-1])),
        "R": (r, (len(ends), gates * size, size)),
        "B": (b, (len(ends), 2 * gates * size)),
        "P": (p, (len(ends), 3 * size)),
    }
    for part, (array, shape) in shapes.items():
        if array is not None and array.shape != shape:
            raise ValueError(f"{name}: expected {part} of shape {shape}, got {array.shape}")
    if (given := attributes.get("hidden_size", size)) != size:
        raise ValueError(f"{name}: hidden_size is {given}, and R has {size} columns")
    cell = _cell(name, operator, attributes, len(ends), peepholes=p is not None)
    if operator == "LSTM" and attributes.get("input_forget"):
        ours = ours.replace("f", "")
    found: dict[tuple[str, str], Host] = {}
    for at, end in enumerate(ends):
        found["weight_ih", end] = _ordered(w[at], theirs, ours)
        found["weight_hh", end] = _ordered(r[at], theirs, ours)
        if b is not None:
            for part, half in zip(("bias_ih", "bias_hh"), np.split(b[at], 2), strict=True):
                found[part, end] = _ordered(half, theirs, ours)
        if p is not None:
            seen = "".join(gate for gate in PEEPHOLES[1] if gate in ours)
            found["weight_peephole", end] = _ordered(p[at], PEEPHOLES[0], seen)
    options = {
        **{"input_size": w.shape[-1], "hidden_size": size, "cell": by_name(cell)},
        **{"bias": b is not None, "batch_first": bool(attributes.get("layout", 0))},
        **{"bidirectional": direction == "bidirectional", "reverse": direction == "reverse"},
    }
    return Layer(options, found)


def attributes_of(model: RNN) -> tuple[str, dict[str, Any]]:
    """Return the operator of a network's layers, and its attributes; refuse other cells."""
    cell: Any = model.cell_object
    kinds = {Elman: "RNN", GRU: "GRU", ResetBeforeGRU: "GRU", LSTM: "LSTM"}
    if (operator := kinds.get(type(cell))) is None:
        raise ValueError(f"model: cell {check.said(model.cell)} has no counterpart in ONNX")
    if model.projection_size is not None:
        raise ValueError("model: projection_size has no counterpart in ONNX")
    direction = "reverse" if model.reverse else "bidirectional" if model.bidirectional else ""
    given: Sequence[Activation]
    given = (cell.nonlinearity,) if operator == "RNN" else cell.activations
    functions = [one if isinstance(one, str) else str(one[0]) for one in given] * model.directions
    pairs = [numbers_of(one) for one in given] * model.directions
    names = [ONNX_NAMES[one] for one in functions]
    found: dict[str, Any] = {"hidden_size": model.hidden_size}
    found |= {"direction": direction} if direction else {}
    if tuple(names) != DEFAULTS[operator] * model.directions:
        found["activations"] = names
        for at, of in enumerate(("activation_alpha", "activation_beta")):
            if values := [pair[at] for pair in pairs if len(pair) > at]:
                found[of] = values
    if cell.clip is not None:
        found["clip"] = cell.clip
    if type(cell) is GRU:
        found["linear_before_reset"] = 1
    if operator == "LSTM" and cell.coupled:
        found["input_forget"] = 1
    return operator, found


def parts_of(model: RNN, params: Mapping[str, Host], layer: int) -> dict[str, Host]:
    """Return the arrays W, R, and B and P if there are any, of a layer."""
    operator, attributes = attributes_of(model)
    theirs, ours = OPERATORS[operator]
    if attributes.get("input_forget"):
        ours = ours.replace("f", "")
    ends = [f"_l{layer}{end}" for end in ("", "_reverse")[: model.directions]]

    def stacked(*names: str, have: str = ours, want: str = theirs) -> Host:
        rows = [[_ordered(params[n + end], have, want) for n in names] for end in ends]
        return np.stack([np.concatenate(one) for one in rows])

    found = {"W": stacked("weight_ih"), "R": stacked("weight_hh")}
    if model.bias:
        found["B"] = stacked("bias_ih", "bias_hh")
    if f"weight_peephole{ends[0]}" in params:
        seen = "".join(gate for gate in PEEPHOLES[1] if gate in ours)
        found["P"] = stacked("weight_peephole", have=seen, want=PEEPHOLES[0])
    return found


def _cell(
    name: str, operator: str, attributes: Mapping[str, Any], directions: int, *, peepholes: bool
) -> Cell:
    count = len(DEFAULTS[operator])
    functions = [_text(one) for one in attributes.get("activations", DEFAULTS[operator] * 2)]
    alphas = list(attributes.get("activation_alpha", ()))
    betas = list(attributes.get("activation_beta", ()))
    given: list[Any] = []
    for one in functions[: directions * count]:
        if (ours := OUR_NAMES.get(one.lower())) is None:
            raise ValueError(f"{name}: activation {one!r} has no counterpart")
        defaults = numbers_of(ours)
        # Each function takes the next numbers of the lists, or its defaults if there are no more.
        numbers = [
            float(_decimal(values.pop(0))) if values else default
            for values, default in zip((alphas, betas), defaults, strict=False)
        ]
        plain = tuple(numbers) == defaults
        given.append(ours if plain else checked(f"{name}: activations", (ours, *numbers)))
    if len(given) != directions * count:
        raise ValueError(f"{name}: expected {directions * count} activations, got {len(functions)}")
    if given[:count] != given[-count:]:
        raise ValueError(f"{name}: activations that differ between directions have no counterpart")
    clip = attributes.get("clip")
    bound = None if clip is None else _decimal(clip)
    kept = tuple(given[:count])
    if operator == "RNN":
        return Elman(kept[0], clip=bound)
    if operator == "GRU":
        kind = GRU if attributes.get("linear_before_reset", 0) else ResetBeforeGRU
        return kind(activations=kept, clip=bound)
    coupled = bool(attributes.get("input_forget", 0))
    return LSTM(peepholes=peepholes, coupled=coupled, activations=kept, clip=bound)


def _ordered(array: Host, have: str, want: str) -> Host:
    """Return blocks in another order; those that there are not are zeros."""
    size = array.shape[0] // len(have)
    missing = "".join(gate for gate in want if gate not in have)
    if missing:
        zeros = np.zeros((size * len(missing), *array.shape[1:]), array.dtype)
        array, have = np.concatenate([array, zeros]), have + missing
    return in_order(array, have, want)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _decimal(value: float) -> float:
    """Return an attribute, which files hold in float32, as the decimal number that was meant."""
    return float(str(np.float32(value)))
