"""Check parameters, inputs and states against a model, before any computation."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from .._arrays import checks as check
from .._arrays.host import is_kind
from .._arrays.namespace import (
    PLAIN,
    Array,
    Namespace,
    check_array,
    check_library_and_device,
    check_like,
    check_shape,
    dtype_name,
    is_array,
    namespace_of,
    same_device,
)
from ..model import RNN

__all__ = [
    "check_arrays",
    "check_every_step",
    "check_layout",
    "check_model",
    "check_one_direction",
    "check_parameters",
    "check_record",
    "check_same_model",
    "check_sequence",
    "check_state",
    "check_state_alone",
    "check_tokens",
]


def check_model(value: Any, name: str = "model") -> Mapping[str, tuple[int, ...]]:
    """Check that ``value`` is a description of a network; return the shapes of its parameters."""
    shapes = None if isinstance(value, type) else getattr(value, "parameter_shapes", None)
    if not isinstance(shapes, Mapping) or not hasattr(value, "cell_object"):
        raise TypeError(f"{name}: expected an RNN, got {type(value).__name__}")
    return shapes


def check_parameters(model: RNN, params: Any) -> Namespace:
    """Check names, shapes, dtype and device of the parameters; return their namespace."""
    if type(params) is dict and type(model) is RNN and _fit(model, params):
        return namespace_of(params=next(iter(params.values())))
    return check_arrays(check_model(model), params)


def check_arrays(expected: Mapping[str, tuple[int, ...]], params: Any) -> Namespace:
    """Check a dict of floating arrays: names and shapes, and one library, dtype and device."""
    if not isinstance(params, Mapping):
        raise TypeError(f"params: expected a dict of arrays, got {type(params).__name__}")
    if params.keys() != expected.keys():
        missing = [name for name in expected if name not in params]
        unknown = [name for name in params if name not in expected]
        found = [f"missing {', '.join(missing)}"] if missing else []
        found += [f"unknown {', '.join(map(str, unknown))}"] if unknown else []
        raise ValueError(f"params: {'; '.join(found)} (this model has {', '.join(expected)})")
    labelled = {f"params[{name!r}]": array for name, array in params.items()}
    xp = namespace_of(**labelled)
    first = next(iter(labelled.values()))
    check.floating("params", first, xp)
    for name, shape in expected.items():
        array = params[name]
        if tuple(array.shape) != shape:
            check_shape(f"params[{name!r}]", array, shape)
        if array.dtype != first.dtype or not same_device(array, first):
            check_like(f"params[{name!r}]", array, "params", first)
    return xp


def _fit(model: RNN, params: dict[str, Array]) -> bool:
    """Return True if a quick check shows that parameters fit; False if a full one is needed.

    NumPy arrays share one object for each dtype, and one device.
    """
    shapes = model._parameter_shapes
    first: Any = params.get("weight_ih_l0")
    kind = type(first)
    if kind not in PLAIN or len(params) != len(shapes):
        return False
    dtype = first.dtype
    if dtype not in check.FLOATING:
        return False
    for name, shape in shapes.items():
        array: Any = params.get(name)
        if type(array) is not kind or array.shape != shape or array.dtype is not dtype:
            return False
    return True


def check_sequence(model: RNN, params: Mapping[str, Array], x: Any) -> None:
    """Check the input sequence: rank, sizes, dtype and device."""
    if model.vocabulary_size is not None:
        check_tokens(model, params, x)
        return
    check_layout(model, x)
    check_like("x", x, "params", params["weight_ih_l0"])


def check_tokens(model: RNN, params: Mapping[str, Array], x: Any) -> None:
    """Check tokens: rank, dtype, library and device; their values are checked when embedded."""
    check_array("x", x)
    axes = "(B, T)" if model.batch_first else "(T, B)"
    wanted = f"integer tokens of shape {axes} or (T,)"
    if not is_kind("x", x, "integral"):
        raise TypeError(f"x: expected {wanted}, got dtype {dtype_name(x.dtype)}")
    if x.ndim not in (1, 2) or 0 in x.shape:
        raise ValueError(
            f"x: expected {wanted}, at least one step and sequence, got {tuple(x.shape)}"
        )
    check_library_and_device("x", x, "params", next(iter(params.values())))


def check_layout(model: RNN, x: Any) -> None:
    """Check rank and sizes of an input sequence."""
    check_array("x", x)
    axes = "(B, T, {})" if model.batch_first else "(T, B, {})"
    wanted = f"{axes.format(model.input_size)} or (T, {model.input_size})"
    if x.ndim not in (2, 3) or x.shape[-1] != model.input_size:
        raise ValueError(
            f"x: expected shape {wanted} (the last axis is input_size), got {tuple(x.shape)}"
        )
    if 0 in x.shape:
        raise ValueError(
            f"x: expected at least one step and one sequence in {wanted}, got {tuple(x.shape)}"
        )


def check_state(model: RNN, name: str, value: Any, x: Array) -> None:
    """Check a state, or a cotangent of one: number of parts, shapes, dtype and device."""
    batch_axis = 0 if model.batch_first else 1
    _check_parts(model, name, value, x.shape[batch_axis] if x.ndim == 3 else None, "x", x)


def check_state_alone(model: RNN, value: Any, params: Mapping[str, Array]) -> None:
    """Check a state without an ``x``, for as many sequences as the state has."""
    batch = None
    for first in check.state_parts(value)[:1]:
        check_array("state", first)
        if 0 in first.shape:
            raise ValueError(
                f"state: expected at least one sequence, got shape {tuple(first.shape)}"
            )
        batch = first.shape[1] if first.ndim == 3 else None
    _check_parts(model, "state", value, batch, "params", params["weight_ih_l0"])


def _check_parts(
    model: RNN, name: str, value: Any, batch: int | None, other_name: str, other: Array
) -> None:
    states = model.cell_object.states
    parts = check.state_parts(value)
    if len(parts) != states:
        wanted = {1: "one array", 2: "a pair (h, c) of arrays"}.get(states, f"{states} arrays")
        raise ValueError(f"{name}: expected {wanted}, got {len(parts)} of them")
    for index, (part, shape) in enumerate(zip(parts, model.state_shapes(batch), strict=True)):
        label = name if states == 1 else f"{name}[{index}]"
        check_array(label, part)
        check_shape(label, part, shape)
        check_like(label, part, other_name, other)


def check_same_model(name: str, wanted: RNN, got: RNN) -> None:
    """Refuse an object made for another network; name the field that differs."""
    if got is wanted or got == wanted:
        return
    same_cell = got.cell_object == wanted.cell_object  # whether given by name or as an object
    for field in (f.name for f in fields(wanted)):
        other, own = getattr(got, field, None), getattr(wanted, field)
        if other != own and not (same_cell and field in ("cell", "nonlinearity")):
            raise ValueError(
                f"{name}: expected one of the same model, with {field}={own!r}, "
                f"got one with {field}={other!r}"
            )


def check_record(name: str, value: Any, kind: type, function: str, arrays: tuple[str, ...]) -> None:
    """Check what a function returned for its derivative: its type, and that it has its arrays."""
    if not isinstance(value, kind) or not all(is_array(getattr(value, one)) for one in arrays):
        got = check.said(value) if not isinstance(value, kind) else "one without its arrays"
        raise TypeError(f"{name}: expected what {function} returned, got {got}")


def check_every_step(model: RNN, what: str) -> None:
    """Refuse a network that pools its steps, for what needs the outputs of each."""
    if (pool := getattr(model, "pool", None)) is not None:
        raise ValueError(f"model: expected an output at each step for {what}, got pool={pool!r}")


def check_one_direction(model: RNN, what: str) -> None:
    """Refuse a network that reads sequences from their ends, for which time cannot be cut."""
    for name, rest in (("bidirectional", " too"), ("reverse", "")):
        if getattr(model, name, False):
            raise ValueError(
                f"model: expected {'one direction' if rest else 'the forward direction'} for "
                f"{what}, got {name}=True, which reads each sequence from its end{rest}"
            )
