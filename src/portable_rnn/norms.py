"""Euclidean norms and root mean squares, of numbers however small or large."""

import math

from ._namespace import Array, Namespace, device_of, in_one_piece, wider

__all__ = ["far_unit", "norm", "root_mean_square", "square_unit_of", "unit_of"]


def norm(xp: Namespace, array: Array, axes: int) -> Array:
    """Return Euclidean norms over all axes but the first few, without over- or underflow.

    The squares of a gradient of 1e-30 vanish in float32 long before the gradient does. Of an
    array with an infinity in it, and no NaN, the norm is infinite.
    """
    kept = tuple(array.shape[:axes])
    wide = wider(xp, array.dtype)
    rows = xp.abs(xp.astype(xp.reshape(array, (*kept, -1)), wide, copy=False))
    unit = square_unit_of(xp, xp.max(rows, axis=-1, keepdims=True))
    rows = rows / unit
    squares = xp.sum(rows * rows, axis=-1, dtype=rows.dtype)
    found = xp.reshape(unit, kept) * xp.sqrt(squares)
    return xp.astype(xp.asarray(found), array.dtype, copy=False)


def square_unit_of(xp: Namespace, largest: Array) -> Array:
    """Return by what to divide numbers of which these are the largest, so that squares are safe.

    By no more than a quarter of the largest number there is: XLA multiplies by the reciprocal
    instead, and where that is not normal it is 0 to it.
    """
    unit = unit_of(xp, largest)
    return xp.where(unit > 1, 0.25 * unit, unit)


def unit_of(xp: Namespace, largest: Array) -> Array:
    """Return by what to divide numbers of which these are the largest, so that they are at most 1.

    That is by the largest, but not by 0, and not by infinity, which would make NaN of itself.
    """
    most = xp.full_like(largest, float(xp.finfo(largest.dtype).max))
    unit = xp.where(largest < float("inf"), largest, most)
    return xp.where(largest > 0, unit, xp.ones_like(unit))


def far_unit(xp: Namespace, array: Array) -> Array:
    """Return by what to divide an array so that products and sums of its numbers are safe.

    That is 1, which rounds nothing, unless the largest is far from 1; or infinite, for then so is
    what is made of it.
    """
    if 0 in array.shape:
        return xp.ones((), dtype=array.dtype, device=device_of(array))
    largest = xp.max(xp.abs(array))
    unit = square_unit_of(xp, largest)
    near = ((largest > 2.0**-20) & (largest < 2.0**20)) | (largest == float("inf"))
    unit = xp.where(near, xp.ones_like(unit), unit)
    return xp.astype(unit, array.dtype, copy=False)


def root_mean_square(xp: Namespace, root: Array, new: Array, decay: float) -> Array:
    """Return ``sqrt(decay root² + (1 - decay) new²)`` without a square that could leave the dtype.

    ``root`` is at least 0.
    """
    a, b = math.sqrt(decay) * root, math.sqrt(1.0 - decay) * new
    # One call instead of ten where calls take time; the standard has it since 2023.12.
    if getattr(xp, "__array_api_version__", "") >= "2023.12" and not in_one_piece(xp):
        return xp.hypot(a, b)
    b = xp.abs(b)
    first = a > b
    larger, smaller = xp.where(first, a, b), xp.where(first, b, a)
    ratio = smaller / xp.where(larger > 0, larger, xp.ones_like(larger))
    return larger * xp.sqrt(1.0 + ratio * ratio)
