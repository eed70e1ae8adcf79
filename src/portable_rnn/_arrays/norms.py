"""Euclidean norms and root mean squares, of numbers however small or large."""

import functools
import math
import sys
from typing import Any

from .functions import to_accumulation_dtype
from .namespace import PLAIN, Array, Namespace, device_of, library_name
from .tracing import whole_sequence

__all__ = ["far_unit", "norm", "root_mean_square", "square_unit_of", "unit_of"]

_MANY = 1024  # numbers of which the root of squares is sooner had in several calls than in one


def norm(xp: Namespace, array: Array, axes: int) -> Array:
    """Return Euclidean norms over all axes but the first few, without over- or underflow.

    The squares of a gradient of 1e-30 vanish in float32 long before the gradient does. Of an
    array with an infinity in it, and no NaN, the norm is infinite.
    """
    kept = tuple(array.shape[:axes])
    rows = xp.abs(to_accumulation_dtype(xp, xp.reshape(array, (*kept, -1))))
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


def far_unit(xp: Namespace, array: Array) -> Any:
    """Return by what to divide an array so that products and sums of its numbers are safe.

    That is 1, which rounds nothing, unless the largest is far from 1; or infinite, for then so is
    what is made of it. None where it is known on the host to be 1.
    """
    if 0 in array.shape:
        return xp.ones((), dtype=array.dtype, device=device_of(array))
    plain = PLAIN.get(type(array)) is xp and array.dtype.kind == "f"
    if plain and 2.0**-20 < abs(array).max() < 2.0**20:  # known at once on the host
        return None
    largest = xp.max(xp.abs(array))
    unit = square_unit_of(xp, largest)
    near = ((largest > 2.0**-20) & (largest < 2.0**20)) | (largest == float("inf"))
    unit = xp.where(near, xp.ones_like(unit), unit)
    return xp.astype(unit, array.dtype, copy=False)


def root_mean_square(xp: Namespace, root: Array, new: Array, decay: float) -> Array:
    """Return ``sqrt(decay root² + (1 - decay) new²)`` without a square that could leave the dtype.

    ``root`` is at least 0. On NumPy the last bit of an entry may depend on all others of the
    array: one square that leaves the dtype sends the whole of a large array to ``hypot``.
    """
    a, b = math.sqrt(decay) * root, math.sqrt(1.0 - decay) * new
    if library_name(xp) == "numpy" and new.size >= _MANY and _notices_lost_numbers():
        # A quarter of the time of hypot, which goes number by number. An entry that over- or
        # underflows raises a flag of the processor, wherever it is; to look at that costs nothing.
        try:
            with _numpy().errstate(over="raise", under="raise"):
                return xp.sqrt(a * a + b * b)
        except FloatingPointError:  # a square left the dtype, if only where it does not matter
            pass
    # One call instead of ten where calls take time; the standard has it since 2023.12.
    if getattr(xp, "__array_api_version__", "") >= "2023.12" and not whole_sequence(xp):
        return xp.hypot(a, b)
    b = xp.abs(b)
    first = a > b
    larger, smaller = xp.where(first, a, b), xp.where(first, b, a)
    ratio = smaller / xp.where(larger > 0, larger, xp.ones_like(larger))
    return larger * xp.sqrt(1.0 + ratio * ratio)


@functools.cache
def _notices_lost_numbers() -> bool:
    """Return whether NumPy can tell that a number over- or underflowed; not in WebAssembly."""
    np = _numpy()
    for dtype in (np.float32, np.float64):
        limits = np.finfo(dtype)
        for number in (limits.tiny, limits.max):
            array = np.full(33, number, dtype)  # more than a register holds, and one that is left
            try:
                with np.errstate(over="raise", under="raise"):
                    array * array
                return False
            except FloatingPointError:
                pass
    return True


def _numpy() -> Any:
    """Return NumPy, which whoever hands us its arrays has imported."""
    return sys.modules["numpy"]
