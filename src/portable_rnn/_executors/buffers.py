"""Memory that compiled loops read and write: addresses of arrays, and room for more.

What a forward pass keeps is many arrays that come together and go together. Each by itself is of a
size that C libraries give back to the system and ask for again at every call, and the system then
clears its pages: that was measured to take a fifth of the time of a call. A few large pieces are
kept, or come in large pages: `Slabs`.
"""

import ctypes
from math import prod
from typing import Any

import numpy as np

from .tables import LINE

__all__ = ["Array", "Slabs", "address", "aligned", "whole"]

Array = np.ndarray[Any, np.dtype[Any]]

LARGEST = 2**24  # bytes


class Slabs:
    """Arrays cut from slabs, each of which lives as long as one of its arrays.

    If ``exact``, each array has a slab of its own, and nothing is taken ahead.
    """

    def __init__(self, dtype: np.dtype[Any], *, exact: bool = False) -> None:
        self._dtype, self._left, self._next = dtype, np.empty(0, dtype), 0
        self._growth = 0 if exact else 4

    def empty(self, *shape: int) -> Array:
        """Return a new array that begins where a line of the cache does."""
        line = LINE // self._dtype.itemsize
        size = prod(shape)
        wanted = size + -size % line
        if wanted > self._left.shape[0]:
            # Larger than the one before: a single call of a small network takes little.
            most = LARGEST // self._dtype.itemsize
            self._next = max(wanted, min(self._growth * self._next, most))
            self._left = aligned(self._dtype, self._next)
        taken, self._left = self._left[:size], self._left[wanted:]
        return taken.reshape(shape)


def aligned(dtype: np.dtype[Any], size: int) -> Array:
    """Return room for numbers that begins where a line of the cache does."""
    room = np.empty(size + LINE // dtype.itemsize, dtype)
    first = -address(room) % LINE // dtype.itemsize
    return room[first : first + size]


def address(array: Array) -> int:
    """Return where the numbers of an array begin."""
    try:
        return ctypes.addressof(_byte_of(array))  # a fifth of the time of what is below
    except (BufferError, TypeError, ValueError):  # read-only, not in one piece, or empty
        found: int = array.__array_interface__["data"][0]
        return found


_byte_of: Any = ctypes.c_byte.from_buffer


def whole(array: Array, dtype: np.dtype[Any]) -> Array:
    """Return an array in one piece, whose numbers lie where the processor wants them."""
    flags = array.flags
    if array.dtype is dtype and flags.c_contiguous and flags.aligned:
        return array
    return np.require(array, dtype, ("C", "A"))
