"""One clear error, before any work is done, that names the argument, what it got and wanted.

Everything here reads shapes, dtypes and devices only, except `finite`, which
reads values and is therefore an option of its callers.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ._namespace import (
    Array,
    Namespace,
    device_of,
    dtype_name,
    is_array,
    is_traced,
    namespace_of,
    real_part,
    same_device,
)
from ._scalars import choice, count, flag, function, integer, number, path, said, text

if TYPE_CHECKING:
    from .dropout import Masks
    from .model import RNN

__all__ = [
    "an_array",
    "beside",
    "choice",
    "count",
    "finite",
    "flag",
    "function",
    "integer",
    "like",
    "loss",
    "masks",
    "number",
    "numeric",
    "of_shape",
    "one_direction",
    "parameters",
    "path",
    "said",
    "sequence",
    "shaped",
    "state",
    "state_of",
    "state_parts",
    "text",
]


def parameters(model: RNN, params: Any) -> Namespace:
    """Check names, shapes, dtype and device of the parameters; return their namespace."""
    if not hasattr(model, "parameter_shapes") or isinstance(model, type):
        raise TypeError(f"model: expected an RNN, got {type(model).__name__}")
    if not isinstance(params, Mapping):
        raise TypeError(f"params: expected a dict of arrays, got {type(params).__name__}")
    expected = model.parameter_shapes
    missing = [name for name in expected if name not in params]
    unknown = [name for name in params if name not in expected]
    if missing or unknown:
        found = [f"missing {', '.join(missing)}"] if missing else []
        found += [f"unknown {', '.join(map(str, unknown))}"] if unknown else []
        raise ValueError(f"params: {'; '.join(found)} (this model has {', '.join(expected)})")
    labelled = {f"params[{name!r}]": array for name, array in params.items()}
    xp = namespace_of(**labelled)
    first = next(iter(labelled.values()))
    _check_inexact(xp, "params", first)
    for name, shape in expected.items():
        label = f"params[{name!r}]"
        of_shape(label, labelled[label], shape)
        like(label, labelled[label], "params", first)
    return xp


def like(name: str, array: Array, other_name: str, other: Array) -> None:
    """Check that two arrays share library, dtype and device."""
    beside(name, array, other_name, other)
    if array.dtype != other.dtype:
        wanted, got = dtype_name(other.dtype), dtype_name(array.dtype)
        if wanted == got:  # NumPy's other byte order
            wanted, got = str(other.dtype), str(array.dtype)
        raise TypeError(f"{name}: expected dtype {wanted} like {other_name}, got {got}")


def beside(name: str, array: Array, other_name: str, other: Array) -> None:
    """Check that two arrays share library and device."""
    namespace_of(**{other_name: other, name: array})
    if not same_device(array, other):
        raise ValueError(
            f"{name}: expected device {device_of(other)} like {other_name}, got {device_of(array)}"
        )


def sequence(model: RNN, params: Mapping[str, Array], x: Any) -> None:
    """Check the input sequence: rank, sizes, dtype and device."""
    an_array("x", x)
    layout = "(B, T, {})" if model.batch_first else "(T, B, {})"
    wanted = f"{layout.format(model.input_size)} or (T, {model.input_size})"
    if x.ndim not in (2, 3) or x.shape[-1] != model.input_size:
        raise ValueError(
            f"x: expected shape {wanted} (the last axis is input_size), got {tuple(x.shape)}"
        )
    if 0 in x.shape:
        raise ValueError(
            f"x: expected at least one step and one sequence in {wanted}, got {tuple(x.shape)}"
        )
    like("x", x, "params", params["weight_ih_l0"])


def state(model: RNN, name: str, value: Any, x: Array) -> None:
    """Check a state, or a cotangent of one: number of parts, shapes, dtype and device."""
    states = model.cell_object.states
    parts = state_parts(value)
    if len(parts) != states:
        wanted = {1: "one array", 2: "a pair (h, c) of arrays"}.get(states, f"{states} arrays")
        raise ValueError(f"{name}: expected {wanted}, got {len(parts)} of them")
    batch_axis = 0 if model.batch_first else 1
    batch = x.shape[batch_axis] if x.ndim == 3 else None
    for index, (part, shape) in enumerate(zip(parts, model.state_shapes(batch), strict=True)):
        label = name if states == 1 else f"{name}[{index}]"
        an_array(label, part)
        of_shape(label, part, shape)
        like(label, part, "x", x)


def loss(value: Any, *, weighted: bool) -> None:
    """Check that a loss can be called; and, if it will be, with ``weights``."""
    if not callable(value):
        raise TypeError(f"loss: expected a callable, got {type(value).__name__}")
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # what is not written in Python need not have one
        return
    known = any(
        p.name == "weights" or p.kind is p.VAR_KEYWORD for p in signature.parameters.values()
    )
    if weighted and not known:
        raise TypeError(
            "loss: expected it to take weights=..., by which lengths or a mask tell it which steps "
            f"there are, got one that takes {signature}"
        )


def masks(model: RNN, value: Masks, x: Array, steps: int, batch: int) -> None:
    """Check masks of dropout: how many of each kind, shapes, library, dtype and device.

    Of each kind that the model has a chance for there must be all; of the others there may be.
    An axis may be 1, for all sequences or features; the axis of time may not.
    """
    count, size = model.num_layers * model.directions, model.recurrent_size
    between = (steps, batch, model.directions * size)
    update = [(steps, *shape[1:]) for shape in model.state_shapes(batch)]
    for name, chance, many, shapes in (
        ("between", model.dropout, model.num_layers - 1, [between]),
        ("recurrent", model.recurrent_dropout, count, [(batch, size)]),
        ("update", model.zoneout, count, update),
    ):
        found = getattr(value, name)
        _a_tuple(f"dropout.{name}", found)
        for part in found if name == "update" else ():
            _a_tuple(f"dropout.{name}", part)
        parts = [tuple(part) if name == "update" else (part,) for part in found]
        arrays = [array for part in parts for array in part]
        for array in arrays:
            an_array(f"dropout.{name}", array)
        if (found or chance) and (got := _misfit(parts, many, shapes)):
            wanted = f"{many} of shape {' and '.join(map(str, shapes))}"
            raise ValueError(f"dropout: expected Masks with {name} {wanted}, got {got}")
        for array in arrays:
            beside(f"dropout.{name}", array, "x", x)
            if name != "update" or dtype_name(array.dtype) != "bool":
                # A complex x, moved off for a complex step, is masked by real numbers too.
                real = x if array.dtype == x.dtype else real_part(namespace_of(x=x), x)
                like(f"dropout.{name}", array, "x", real)


def _a_tuple(name: str, value: Any) -> None:
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{name}: expected a tuple, got {type(value).__name__}")


def _misfit(parts: list[tuple[Array, ...]], many: int, shapes: Sequence[tuple[int, ...]]) -> str:
    """Say what there is in the place of ``many`` times arrays of ``shapes``; '' if they fit."""
    if not parts:
        return "none; for a pass without dropout give False"
    if len(parts) != many:
        return str(len(parts))
    for part in parts:
        got = [tuple(array.shape) for array in part]
        if len(got) != len(shapes):
            return f"{len(got)} arrays in the place of {len(shapes)}"
        if not all(map(_broadcasts, got, shapes)):
            return " and ".join(map(str, got))
    return ""


def _broadcasts(got: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    exact = len(wanted) - 2  # the axis of time, where there is one
    return (
        len(got) == len(wanted)
        and got[:exact] == wanted[:exact]
        and all(g in (1, w) for g, w in zip(got, wanted, strict=True))
    )


def one_direction(model: RNN, what: str) -> None:
    """Refuse a network that reads backwards, for which time cannot be cut."""
    if getattr(model, "bidirectional", False):
        raise ValueError(
            f"model: expected one direction for {what}, got bidirectional=True, "
            "which reads each sequence from its end too"
        )


def shaped(name: str, array: Any, shape: tuple[int, ...], other_name: str, other: Array) -> None:
    """Check that an array has a shape, and library, dtype and device of another."""
    an_array(name, array)
    of_shape(name, array, shape)
    like(name, array, other_name, other)


def finite(name: str, array: Array) -> None:
    """Raise if ``array`` holds NaN or infinity. Reads values: waits for a device."""
    xp = namespace_of(**{name: array})
    if is_traced(xp, array):
        raise ValueError(f"{name}: values of traced arrays cannot be checked (check_finite)")
    good = xp.isfinite(array)
    if not bool(xp.all(good)):
        bad = int(xp.sum(xp.astype(~good, xp.int32)))
        raise ValueError(
            f"{name}: expected finite values, got {bad} NaN or infinite out of {good.size}"
        )


def state_parts(value: Any) -> tuple[Array, ...]:
    """Return the arrays of a state: one, or those of a tuple or list."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def state_of(parts: Sequence[Array]) -> Any:
    """Undo `state_parts`: return a lone array without its tuple."""
    return parts[0] if len(parts) == 1 else tuple(parts)


def an_array(name: str, array: Any) -> None:
    """Check that ``array`` is an array of some library."""
    if not is_array(array):
        raise TypeError(
            f"{name}: expected an array of an array API library, got {type(array).__name__}"
        )


def numeric(name: str, array: Array) -> None:
    """Check that an array holds numbers, or truth values."""
    try:
        good = namespace_of(**{name: array}).isdtype(array.dtype, ("bool", "numeric"))
    except (TypeError, ValueError):  # a dtype that the library does not call its own
        good = dtype_name(array.dtype) == "bfloat16"
    if not good:
        raise TypeError(f"{name}: expected a dtype of numbers, got {dtype_name(array.dtype)}")


def of_shape(name: str, array: Array, shape: tuple[int, ...]) -> None:
    """Check the shape of an array."""
    if tuple(array.shape) != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {tuple(array.shape)}")


def _check_inexact(xp: Namespace, name: str, array: Array) -> None:
    # Complex is let through for complex-step differentiation: the code is analytic.
    try:
        inexact = xp.isdtype(array.dtype, ("real floating", "complex floating"))
    except TypeError:  # a dtype the library does not call its own, such as ml_dtypes'
        inexact = False
    if not inexact:
        raise TypeError(f"{name}: expected a floating dtype, got {dtype_name(array.dtype)}")
