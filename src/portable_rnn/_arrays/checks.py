"""Check arguments before any computation, with errors that name the argument.

Everything here reads shapes, dtypes and devices only, except `finite`, which
reads values and is therefore optional for its callers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Number, Real
from types import MappingProxyType
from typing import Any

from .functions import dtype_is_kind
from .host import numbers_to_host
from .namespace import (
    DTYPES,
    PLAIN,
    Array,
    Namespace,
    check_dtype,
    check_library_and_device,
    check_shape,
    conversion,
    dtype_name,
    is_array,
    is_cupy_array,
    is_traced,
    namespace_of,
    read_flag,
)
from .scalars import (
    choice,
    count,
    counted,
    flag,
    function,
    integer,
    number,
    path,
    said,
    size_in_bytes,
    suggestion,
    text,
)
from .signatures import loss, named_options, options

__all__ = [
    "FLOATING",
    "choice",
    "count",
    "counted",
    "finite",
    "flag",
    "floating",
    "function",
    "integer",
    "loss",
    "loss_value",
    "named_options",
    "number",
    "numeric",
    "options",
    "path",
    "said",
    "seed",
    "size_in_bytes",
    "state_of",
    "state_parts",
    "suggestion",
    "text",
    "weights",
    "weights_of_any_dtype",
]

FLOATING: set[Any] = set()  # NumPy dtypes that `floating` has accepted


def seed(name: str, value: Any) -> tuple[int, ...]:
    """Check a seed, an int or a tuple of them; return it as a tuple."""
    numbers = value if isinstance(value, tuple) else (value,)
    if not numbers:
        raise ValueError(f"{name}: expected at least one int, got an empty tuple")
    return tuple(integer(name, one, least=0) for one in numbers)


def loss_value(value: Any, x: Array) -> None:
    """Check the value that a loss returned: one real number, from the library of ``x``."""
    if type(value) in PLAIN and value.dtype is x.dtype and value.shape == ():
        return
    name = "value returned by the loss"
    if isinstance(value, bool) or not (isinstance(value, Number) or is_array(value)):
        raise TypeError(f"{name}: expected an array () or a float, got {said(value)}")
    if isinstance(value, Number):  # a Python or NumPy scalar
        real, got = isinstance(value, Real), type(value).__name__
    else:
        xp, got = namespace_of(x=x, **{name: value}), dtype_name(value.dtype)
        check_shape(name, value, ())
        real = value.dtype == x.dtype or dtype_is_kind(xp, value.dtype, "real floating")
    # In a complex step the value is complex, like the outputs.
    if not real and not (got.startswith("complex") and dtype_name(x.dtype).startswith("complex")):
        raise TypeError(f"{name}: expected a real floating dtype, got {got}")


def weights(value: Any, other_name: str, other: Array) -> None:
    """Check weights for the steps of ``other``: one per step, boolean or of its dtype."""
    weights_of_any_dtype(value, other_name, other)
    if dtype_name(value.dtype) != "bool":
        check_dtype("weights", value, other_name, other)


def weights_of_any_dtype(value: Any, other_name: str, other: Array) -> None:
    """Check weights for the steps of ``other``, except their dtype, which the loss checks."""
    check_library_and_device("weights", value, other_name, other)
    shape = tuple(other.shape[:-1])
    if tuple(value.shape) != shape:
        raise ValueError(
            f"weights: expected shape {shape}, that of {other_name} without the last axis, "
            f"got {tuple(value.shape)}"
        )


def finite(arrays: Mapping[str, Array], valid: Mapping[str, Array] = MappingProxyType({})) -> None:
    """Raise if an array holds NaN or infinity; reads values, and so waits for the device, once.

    ``valid`` says which entries of some arrays to check; its shapes are those of the arrays without
    the last axis.
    """
    good = {name: _are_finite(name, array, valid.get(name)) for name, array in arrays.items()}
    try:
        if all(numbers_to_host([xp.all(entries) for xp, entries in good.values()])):
            return
    except (TypeError, RuntimeError):  # under torch.func.vmap; see `read_flag`
        pass
    for name, (xp, entries) in good.items():
        all_good = read_flag(xp.all(entries))
        if all_good is None:
            raise _unreadable(name)
        if not all_good:
            bad = int(xp.sum(xp.astype(~entries, xp.int32)))
            raise ValueError(
                f"{name}: expected finite values, got {bad} NaN or infinite out of {entries.size}"
            )


def _are_finite(name: str, array: Array, valid: Array | None) -> tuple[Namespace, Array]:
    """Return the namespace of an array, and where it is finite or not valid."""
    xp = namespace_of(**{name: array})
    good = xp.isfinite(array)
    if is_traced(xp, good):
        raise _unreadable(name)
    return xp, good if valid is None else good | ~xp.expand_dims(valid, axis=-1)


def _unreadable(name: str) -> ValueError:
    return ValueError(f"{name}: values of traced arrays cannot be checked (check_finite)")


def state_parts(value: Any) -> tuple[Array, ...]:
    """Return the arrays of a state, which is one array or a tuple or list of them."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def state_of(parts: Sequence[Array]) -> Any:
    """Undo `state_parts`: return a single array without a tuple."""
    return parts[0] if len(parts) == 1 else tuple(parts)


def numeric(name: str, array: Array) -> None:
    """Check that an array holds numbers or booleans."""
    try:
        good = namespace_of(**{name: array}).isdtype(array.dtype, ("bool", "numeric"))
    except (TypeError, ValueError):  # a dtype that the library does not recognise
        good = dtype_name(array.dtype) == "bfloat16"
    if not good:
        raise TypeError(f"{name}: expected a dtype of numbers, got {dtype_name(array.dtype)}")


def named_dtype(name: str, dtype: Any) -> str:
    """Return the standard name of a supported dtype, given the dtype or its name."""
    try:
        found = dtype if isinstance(dtype, str) else dtype_name(dtype)
    except Exception:  # not a dtype, and not printable either
        found = ""
    if found not in DTYPES:
        raise TypeError(
            f"{name}: expected the name of a floating type, such as 'float32', got {said(dtype)}"
        )
    return found


def floating(name: str, array: Array, xp: Namespace) -> None:
    """Check that an array has a supported floating dtype."""
    # Complex is accepted for complex-step differentiation: the code is analytic.
    dtype = array.dtype
    if type(array) in PLAIN and dtype in FLOATING:
        return
    try:
        inexact = xp.isdtype(dtype, ("real floating", "complex floating"))
    except TypeError:  # a dtype the library does not recognise, such as ml_dtypes'
        inexact = is_cupy_array(array)  # whose executor of bfloat16 needs no other function
    if not inexact or dtype_name(dtype) not in DTYPES:
        raise TypeError(
            f"{name}: expected a floating dtype, such as float32, got {dtype_name(dtype)}"
        )
    if not getattr(dtype, "isnative", True):
        remedy = conversion(name, array, dtype_name(dtype))
        raise TypeError(
            f"{name}: expected numbers in the byte order of this machine, got {dtype}; "
            f"give {remedy}"
        )
    if type(array) in PLAIN:
        FLOATING.add(dtype)
