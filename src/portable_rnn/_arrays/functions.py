"""Array functions that the standard lacks, or that have a better form for arrays of some library.

CuPy joins many arrays by a table of pointers, which it copies to the device: a transfer, and in a
recorded graph one of numbers that are no longer true. `stack` and `concatenate` write them one by
one, as the standard does not allow but CuPy does.
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from .namespace import (
    PLAIN,
    Array,
    Namespace,
    device_of,
    dtype_name,
    is_cupy_array,
    is_cupy_namespace,
    is_jax_namespace,
    is_numpy_namespace,
    library_name,
)

__all__ = [
    "accumulation_dtype",
    "concatenate",
    "copied",
    "dtype_is_kind",
    "has_64_bits",
    "is_positive",
    "largest_number",
    "nan_where",
    "real_part",
    "reshape",
    "row",
    "rows_at",
    "stack",
    "sum_over",
    "take",
    "to_accumulation_dtype",
    "where",
    "with_last_axis",
    "zeros_of",
]

_shape_of = attrgetter("shape")
_full: dict[int, Any] = {}  # dtypes that are their own accumulation dtype, by object identity


def sum_over(xp: Namespace, array: Array, axis: int, *, keepdims: bool = False) -> Array:
    """Sum over one axis in the accumulation dtype.

    The result of a half-precision sum stays float32: 65504, the limit of float16, is soon passed.
    """
    dtype = accumulation_dtype(xp, array.dtype)
    if PLAIN.get(type(array)) is xp:
        return array.sum(axis=axis, keepdims=keepdims, dtype=dtype)
    return xp.sum(array, axis=axis, keepdims=keepdims, dtype=dtype)


def dtype_is_kind(xp: Namespace, dtype: Any, kind: str | tuple[str, ...]) -> bool:
    """Return whether a dtype is of a kind of the standard; bfloat16 is a real floating one."""
    if dtype_name(dtype) == "bfloat16" and is_cupy_namespace(xp):  # which its function refuses
        kinds = (kind,) if isinstance(kind, str) else kind
        return "real floating" in kinds or "numeric" in kinds
    return bool(xp.isdtype(dtype, kind))


def largest_number(xp: Namespace, dtype: Any) -> float:
    """Return the largest finite number of a floating dtype."""
    if dtype_name(dtype) == "bfloat16":
        return (2.0 - 2.0**-7) * 2.0**127
    return float(xp.finfo(dtype).max)


def has_64_bits(xp: Namespace) -> bool:
    """Return whether the library has 64-bit integers now; JAX has them if it is told so."""
    return not is_jax_namespace(xp) or dtype_name(xp.zeros(0, dtype=int).dtype) == "int64"


def take(xp: Namespace, array: Array, indices: Array, axis: int) -> Array:
    """Return the given entries along an axis, as ``xp.take``; nothing else is copied.

    NumPy's copies an array that is not contiguous, and a data set may be a transposed view.
    """
    if is_numpy_namespace(xp) and not array.flags.c_contiguous:
        return xp.ascontiguousarray(array[(slice(None),) * axis + (indices,)])
    return xp.take(array, indices, axis=axis)


def rows_at(xp: Namespace, array: Array, indices: Array) -> Array:
    """Return the rows of an array (V, ...) at indices (...), which are in range."""
    flat = xp.reshape(indices, (-1,))
    if library_name(xp) == "ndonnx":  # its indices have 64 bits
        flat = xp.astype(flat, xp.int64)
    return xp.reshape(xp.take(array, flat, axis=0), (*indices.shape, *array.shape[1:]))


def stack(xp: Namespace, arrays: Sequence[Array], axis: int = 0) -> Array:
    """Stack N arrays (...) into one, (N, ...), or with the new axis at another place."""
    plain = PLAIN.get(type(arrays[0])) is xp
    if not plain and is_cupy_array(arrays[0]) and _are_alike(arrays):
        shape, axis = arrays[0].shape, axis % (arrays[0].ndim + 1)
        found = xp.empty((*shape[:axis], len(arrays), *shape[axis:]), dtype=arrays[0].dtype)
        for i, array in enumerate(arrays):
            found[(*_all(axis), i, ...)] = array
        return found
    if axis:
        return xp.stack(arrays, axis=axis)
    if plain and len(arrays) == 1:
        return arrays[0][None, ...].copy()
    if not plain or not arrays[0].shape or len(set(map(_shape_of, arrays))) > 1:
        return xp.stack(arrays)
    return xp.concat(arrays).reshape(len(arrays), *arrays[0].shape)


def concatenate(xp: Namespace, arrays: Sequence[Array], axis: int = 0) -> Array:
    """Join any number of arrays along an axis."""
    if not is_cupy_array(arrays[0]) or len({a.dtype for a in arrays}) > 1:
        return xp.concat(arrays, axis=axis)
    shape, at, axis = arrays[0].shape, 0, axis % arrays[0].ndim
    size = sum(array.shape[axis] for array in arrays)
    found = xp.empty((*shape[:axis], size, *shape[axis + 1 :]), dtype=arrays[0].dtype)
    for array in arrays:
        found[(*_all(axis), slice(at, at + array.shape[axis]), ...)] = array
        at += array.shape[axis]
    return found


def _are_alike(arrays: Sequence[Array]) -> bool:
    return len({(a.shape, a.dtype) for a in arrays}) == 1


def _all(axes: int) -> tuple[slice, ...]:
    return (slice(None),) * axes


def copied(xp: Namespace, array: Array) -> Array:
    """Return a copy of an array."""
    return array.copy() if PLAIN.get(type(array)) is xp else xp.asarray(array, copy=True)


def zeros_of(xp: Namespace, shape: tuple[int, ...], like: Array) -> Array:
    """Return zeros with the dtype and device of another array."""
    if PLAIN.get(type(like)) is xp:
        found: Array = type(like)(shape, like.dtype)
        found.fill(0)
        return found
    return xp.zeros(shape, dtype=like.dtype, device=device_of(like))


def with_last_axis(xp: Namespace, array: Array) -> Array:
    """Append an axis of length 1 to an array."""
    if PLAIN.get(type(array)) is xp:
        return array[..., None]
    return xp.expand_dims(array, axis=-1)


def reshape(xp: Namespace, array: Array, shape: tuple[int, ...]) -> Array:
    """Return an array with another shape."""
    if PLAIN.get(type(array)) is xp:
        return array.reshape(shape)
    return xp.reshape(array, shape)


def accumulation_dtype(xp: Namespace, dtype: Any) -> Any:
    """Return the accumulation dtype: float32 for half precision, otherwise the same."""
    if _full.get(id(dtype)) is dtype:
        return dtype
    if dtype_name(dtype) in ("float16", "bfloat16"):
        return xp.float32
    if len(_full) < 64:
        _full[id(dtype)] = dtype
    return dtype


def to_accumulation_dtype(xp: Namespace, array: Array) -> Array:
    """Convert an array to its accumulation dtype."""
    if _full.get(id(array.dtype)) is array.dtype:
        return array
    dtype = accumulation_dtype(xp, array.dtype)
    return array if dtype is array.dtype else xp.astype(array, dtype, copy=False)


def row(xp: Namespace, vector: Array, ndim: int) -> Array:
    """Prepend axes of length 1 to a vector, since JAX can be set to refuse unequal ranks."""
    return reshape(xp, vector, (1,) * (ndim - 1) + (-1,))


def real_part(xp: Namespace, array: Array) -> Array:
    """Return the real part of a complex array, and any other array as it is.

    Piecewise functions choose their piece by it. They are then analytic on each piece, and complex
    steps work.
    """
    return xp.real(array) if dtype_is_kind(xp, array.dtype, "complex floating") else array


def where(xp: Namespace, condition: Array, one: Array, other: Array) -> Array:
    """Return a choice between two arrays of one dtype, in that dtype.

    CuPy has none between numbers of bfloat16, and widens them.
    """
    return xp.astype(xp.where(condition, one, other), other.dtype, copy=False)


def is_positive(xp: Namespace, array: Array) -> Array:
    """Return 1 where (the real part of) ``array`` is above zero, else 0, in its dtype."""
    return xp.astype(real_part(xp, array) > 0, array.dtype)


def nan_where(xp: Namespace, wrong: Array, array: Array) -> Array:
    """Return an array with NaN where ``wrong``; if nothing is wrong, compute no NaN at all.

    JAX can be set to raise on any NaN (``jax_debug_nans``), even on a constant.
    """
    if is_jax_namespace(xp):
        minus_one = -xp.astype(wrong, real_part(xp, array).dtype)  # or -0, whose root is -0
        return array + xp.sqrt(minus_one)
    return where(xp, wrong, xp.full_like(array, float("nan")), array)
