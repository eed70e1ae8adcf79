"""Euclidean norms, of numbers however small or large."""

from ._namespace import Array, Namespace, wider

__all__ = ["norm", "unit_of"]


def norm(xp: Namespace, array: Array, axes: int) -> Array:
    """Return Euclidean norms over all axes but the first few, without over- or underflow.

    The squares of a gradient of 1e-30 vanish in float32 long before the gradient does. Of an
    array with an infinity in it, and no NaN, the norm is infinite.
    """
    kept = tuple(array.shape[:axes])
    wide = wider(xp, array.dtype)
    rows = xp.abs(xp.astype(xp.reshape(array, (*kept, -1)), wide, copy=False))
    unit = unit_of(xp, xp.max(rows, axis=-1, keepdims=True))
    rows = rows / unit
    squares = xp.sum(rows * rows, axis=-1, dtype=rows.dtype)
    found = xp.reshape(unit, kept) * xp.sqrt(squares)
    return xp.astype(xp.asarray(found), array.dtype, copy=False)


def unit_of(xp: Namespace, largest: Array) -> Array:
    """Return by what to divide numbers of which these are the largest, so that squares are safe.

    That is by the largest, but not by 0, and not by infinity, which would make NaN of itself.
    """
    most = xp.full_like(largest, float(xp.finfo(largest.dtype).max))
    unit = xp.where(largest < float("inf"), largest, most)
    return xp.where(largest > 0, unit, xp.ones_like(unit))
