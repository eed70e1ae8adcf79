"""Euclidean norms, of numbers however small."""

from ._namespace import Array, Namespace, dtype_name

__all__ = ["norm"]


def norm(xp: Namespace, array: Array, axes: int) -> Array:
    """Return Euclidean norms over all axes but the first few, without over- or underflow.

    The squares of a gradient of 1e-30 vanish in float32 long before the gradient does.
    """
    kept = tuple(array.shape[:axes])
    wide = xp.float32 if dtype_name(array.dtype) in ("float16", "bfloat16") else array.dtype
    rows = xp.abs(xp.astype(xp.reshape(array, (*kept, -1)), wide, copy=False))
    largest = xp.max(rows, axis=-1, keepdims=True)
    rows = rows / xp.where(largest > 0, largest, xp.ones_like(largest))
    squares = xp.sum(rows * rows, axis=-1, dtype=wide)
    largest = xp.reshape(largest, kept)
    return xp.astype(xp.asarray(largest * xp.sqrt(squares)), array.dtype, copy=False)
