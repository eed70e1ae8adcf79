"""Windows of a sequence: their positions, and sums of overlapping arrays."""

from typing import NamedTuple

from ._arrays.functions import concatenate
from ._arrays.namespace import Array, namespace_of

__all__ = ["Overlap", "Sum", "Window", "steps_of", "windows"]


class Window(NamedTuple):
    """Steps ``start`` to ``stop``; only losses from step ``losses`` on count."""

    start: int
    losses: int
    stop: int


def windows(steps: int, k1: int, k2: int) -> list[Window]:
    """Return the windows of a sequence; those that start at its first step are merged.

    Examples
    --------
    >>> from portable_rnn._windows import windows
    >>> windows(10, k1=2, k2=5)[:2]
    [Window(start=0, losses=0, stop=4), Window(start=1, losses=4, stop=6)]
    """
    stop = steps if k2 >= steps else k2 // k1 * k1
    found = [Window(0, 0, stop)]
    while stop < steps:
        losses, stop = stop, min(stop + k1, steps)
        found.append(Window(stop - k2, losses, stop))
    return found


class Sum:
    """A pairwise sum of dicts of arrays, so that rounding errors grow only logarithmically."""

    def __init__(self) -> None:
        self._sums: list[
            tuple[int, dict[str, Array]]
        ] = []  # of 1, 2, 4 .. dicts, the largest first

    def add(self, found: dict[str, Array]) -> None:
        """Add one dict."""
        count = 1
        while self._sums and self._sums[-1][0] == count:
            found = self._plus(found)
            count *= 2
        self._sums.append((count, found))

    def total(self) -> dict[str, Array]:
        """Return the sum; nothing more can be added."""
        _, found = self._sums.pop()
        while self._sums:
            found = self._plus(found)
        return found

    def _plus(self, found: dict[str, Array]) -> dict[str, Array]:
        _, held = self._sums.pop()
        return {name: held[name] + array for name, array in found.items()}


class Overlap:
    """The sum of arrays along time; each starts within the one before, or at its end."""

    def __init__(self, axis: int) -> None:
        self._axis = axis
        self._done: list[Array] = []
        self._last: Array = None
        self._start = 0

    def add(self, start: int, parts: list[Array]) -> None:
        """Add an array, given in parts, at step ``start``; steps before it are final."""
        xp, axis = namespace_of(part=parts[0]), self._axis
        array = concatenate(xp, parts, axis) if len(parts) > 1 else parts[0]
        if self._last is not None:
            cut = start - self._start
            shared = self._last.shape[axis] - cut
            if shared:
                both = steps_of(self._last, axis, cut, None)
                both = both + steps_of(array, axis, None, shared)
                array = xp.concat([both, steps_of(array, axis, shared, None)], axis=axis)
            self._done.append(steps_of(self._last, axis, None, cut))
        self._start, self._last = start, array

    def whole(self) -> Array:
        """Return the sum."""
        return concatenate(namespace_of(part=self._last), [*self._done, self._last], self._axis)


def steps_of(array: Array, axis: int, a: int | None, b: int | None) -> Array:
    """Return steps ``a`` to ``b`` of an array; time is its first or second axis."""
    return array[:, a:b, ...] if axis else array[a:b, ...]
