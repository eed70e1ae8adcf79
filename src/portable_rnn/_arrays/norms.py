"""Euclidean norms and root mean squares without over- or underflow."""

import functools
import math
import sys
from typing import Any

from .functions import largest_number, to_accumulation_dtype
from .namespace import PLAIN, Array, Namespace, device_of, library_name
from .tracing import whole_sequence

__all__ = ["far_unit", "hypotenuse", "norm", "root_mean_square", "square_unit_of", "unit_of"]

_MANY = 1024  # entries from which on several NumPy calls are faster than one of hypot


def norm(xp: Namespace, array: Array, axes: int) -> Array:
    """Return Euclidean norms over all axes but the first few, without over- or underflow.

    The squares of a gradient of 1e-30 vanish in float32 long before the gradient does. The norm
    of an array with an infinity and no NaN is infinite.
    """
    kept = tuple(array.shape[:axes])
    rows = xp.abs(to_accumulation_dtype(xp, xp.reshape(array, (*kept, -1))))
    unit = square_unit_of(xp, xp.max(rows, axis=-1, keepdims=True))
    rows = rows / unit
    squares = xp.sum(rows * rows, axis=-1, dtype=rows.dtype)
    found = xp.reshape(unit, kept) * xp.sqrt(squares)
    return xp.astype(xp.asarray(found), array.dtype, copy=False)


def square_unit_of(xp: Namespace, largest: Array) -> Array:
    """Return a divisor for arrays with these largest numbers that makes squares safe.

    It is at most a quarter of the largest finite number: XLA multiplies by the reciprocal instead,
    and flushes a subnormal reciprocal to 0.
    """
    unit = unit_of(xp, largest)
    return xp.where(unit > 1, 0.25 * unit, unit)


def unit_of(xp: Namespace, largest: Array) -> Array:
    """Return a divisor for arrays with these largest numbers that makes them at most 1.

    It is the largest number itself, except 0 and infinity, since infinity over itself is NaN.
    """
    most = xp.full_like(largest, largest_number(xp, largest.dtype))
    unit = xp.where(largest < float("inf"), largest, most)
    return xp.where(largest > 0, unit, xp.ones_like(unit))


def far_unit(xp: Namespace, array: Array) -> Any:
    """Return a divisor for an array that makes products and sums of its numbers safe.

    It is 1, which rounds nothing, unless the largest number is finite and far from 1. None if it
    is known on the host to be 1.
    """
    if 0 in array.shape:
        return xp.ones((), dtype=array.dtype, device=device_of(array))
    plain = PLAIN.get(type(array)) is xp and array.dtype.kind == "f"
    if plain and 2.0**-20 < abs(array).max() < 2.0**20:  # cheap to know on the host
        return None
    largest = xp.max(xp.abs(array))
    unit = square_unit_of(xp, largest)
    near = ((largest > 2.0**-20) & (largest < 2.0**20)) | (largest == float("inf"))
    unit = xp.where(near, xp.ones_like(unit), unit)
    return xp.astype(unit, array.dtype, copy=False)


def root_mean_square(xp: Namespace, root: Array, new: Array, decay: float) -> Array:
    """Return ``sqrt(decay root² + (1 - decay) new²)`` without over- or underflow of squares.

    ``root`` is at least 0. With NumPy, the last bit of an entry may depend on all others: if one
    square over- or underflows, ``hypot`` computes the whole of a large array.
    """
    return hypotenuse(xp, math.sqrt(decay) * root, math.sqrt(1.0 - decay) * new)


def hypotenuse(xp: Namespace, a: Array, b: Array) -> Array:
    """Return ``sqrt(a² + b²)`` without over- or underflow of squares; ``a`` is at least 0."""
    if library_name(xp) == "numpy" and b.size >= _MANY and _notices_lost_numbers():
        # A quarter of the time of hypot, which goes number by number. Any entry that over- or
        # underflows sets a processor flag, which costs nothing to check.
        try:
            with _numpy().errstate(over="raise", under="raise"):
                return xp.sqrt(a * a + b * b)
        except FloatingPointError:  # a square over- or underflowed, perhaps harmlessly
            pass
    # One call instead of ten, where each takes time; hypot is in the standard since 2023.12.
    if getattr(xp, "__array_api_version__", "") >= "2023.12" and not whole_sequence(xp):
        return xp.hypot(a, b)
    b = xp.abs(b)
    first = a > b
    larger, smaller = xp.where(first, a, b), xp.where(first, b, a)
    ratio = smaller / xp.where(larger > 0, larger, xp.ones_like(larger))
    return larger * xp.sqrt(1.0 + ratio * ratio)


@functools.cache
def _notices_lost_numbers() -> bool:
    """Return whether NumPy detects over- and underflow; in WebAssembly it does not."""
    np = _numpy()
    for dtype in (np.float32, np.float64):
        limits = np.finfo(dtype)
        for number in (limits.tiny, limits.max):
            array = np.full(33, number, dtype)  # more than fills vector registers, plus one
            try:
                with np.errstate(over="raise", under="raise"):
                    array * array
                return False
            except FloatingPointError:
                pass
    return True


def _numpy() -> Any:
    """Return NumPy, which whoever passes its arrays has imported."""
    return sys.modules["numpy"]
