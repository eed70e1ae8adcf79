"""Room for arrays of one life, taken by the slab.

What a forward pass keeps is many arrays that come together and go together. Each by itself is of a
size that C libraries give back to the system and ask for again at every call, and the system then
clears its pages: that was measured to take a fifth of the time of a call. A few large pieces are
kept, or come in large pages.
"""

from math import prod
from typing import Any

import numpy as np

__all__ = ["Slabs"]

Array = np.ndarray[Any, np.dtype[Any]]

LARGEST = 2**24  # bytes
LINE = 64


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
            slab = np.empty(self._next + line, self._dtype)
            first = -int(slab.__array_interface__["data"][0]) % LINE // self._dtype.itemsize
            self._left = slab[first : first + self._next]
        taken, self._left = self._left[:size], self._left[wanted:]
        return taken.reshape(shape)
