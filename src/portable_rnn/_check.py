"""One clear error, before any work is done, that names the argument, what it got and wanted.

Everything here reads shapes, dtypes and devices only, except `finite`, which
reads values and is therefore an option of its callers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ._namespace import (
    Array,
    Namespace,
    device_of,
    dtype_name,
    is_array,
    namespace_of,
    same_device,
)

if TYPE_CHECKING:
    from .model import RNN

__all__ = [
    "cotangent",
    "count",
    "finite",
    "like",
    "parameters",
    "sequence",
    "state",
    "state_parts",
]


def parameters(model: RNN, params: Any) -> Namespace:
    """Check names, shapes, dtype and device of the parameters; return their namespace."""
    if not hasattr(model, "parameter_shapes"):
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
        _check_shape(label, labelled[label], shape)
        like(label, labelled[label], "params", first)
    return xp


def like(name: str, array: Array, other_name: str, other: Array) -> None:
    """Check that two arrays share library, dtype and device."""
    namespace_of(**{other_name: other, name: array})
    if array.dtype != other.dtype:
        raise TypeError(
            f"{name}: expected dtype {dtype_name(other.dtype)} like {other_name}, "
            f"got {dtype_name(array.dtype)}"
        )
    if not same_device(array, other):
        raise ValueError(
            f"{name}: expected device {device_of(other)} like {other_name}, got {device_of(array)}"
        )


def sequence(model: RNN, params: Mapping[str, Array], x: Any) -> None:
    """Check the input sequence: rank, sizes, dtype and device."""
    _check_array("x", x)
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
    count = model.cell_object.states
    parts = state_parts(value)
    if len(parts) != count:
        wanted = (
            "a pair (h, c) of arrays"
            if count == 2
            else "one array"
            if count == 1
            else f"{count} arrays"
        )
        raise ValueError(f"{name}: expected {wanted}, got {len(parts)} of them")
    batch_axis = 0 if model.batch_first else 1
    batch = x.shape[batch_axis] if x.ndim == 3 else None
    for index, part in enumerate(parts):
        label = name if count == 1 else f"{name}[{index}]"
        _check_array(label, part)
        _check_shape(label, part, model.state_shape(batch))
        like(label, part, "x", x)


def cotangent(name: str, array: Any, shape: tuple[int, ...], x: Array) -> None:
    """Check a cotangent of the outputs against their shape."""
    _check_array(name, array)
    _check_shape(name, array, shape)
    like(name, array, "x", x)


def finite(name: str, array: Array) -> None:
    """Raise if ``array`` holds NaN or infinity. Reads values: waits for a device."""
    xp = namespace_of(**{name: array})
    good = xp.isfinite(array)
    if not bool(xp.all(good)):
        count = int(xp.sum(xp.astype(~good, xp.int32)))
        raise ValueError(
            f"{name}: expected finite values, got {count} NaN or infinite out of {good.size}"
        )


def state_parts(value: Any) -> tuple[Array, ...]:
    """Return the arrays of a state: one, or those of a tuple or list."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _check_array(name: str, array: Any) -> None:
    if not is_array(array):
        raise TypeError(
            f"{name}: expected an array of an array API library, got {type(array).__name__}"
        )


def _check_shape(name: str, array: Array, shape: tuple[int, ...]) -> None:
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


def count(name: str, value: Any) -> None:
    """Check that a number of steps or the like is an int of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected an int, got {value!r}")
    if value < 1:
        raise ValueError(f"{name}: expected at least 1, got {value}")
