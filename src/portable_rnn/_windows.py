"""A sequence in windows: where they lie, how a piece is run, how what overlaps is added up."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from ._arrays.namespace import Array, Namespace, namespace_of
from ._calls.call import masks_of, steps_of
from ._calls.layout import mask_outward, sizes
from ._calls.masks import Masks
from ._calls.valid_steps import read_lengths
from .api import Forward, forward
from .model import RNN

__all__ = ["Overlap", "Pieces", "Sum", "Window", "pieces_of", "windows"]


class Window(NamedTuple):
    """Steps ``start`` to ``stop``, of which those from ``losses`` on have their losses counted."""

    start: int
    losses: int
    stop: int


def windows(steps: int, k1: int, k2: int) -> list[Window]:
    """Return the windows of a sequence, those that begin with it made one.

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


class Pieces(NamedTuple):
    """A network, and the sequence of which pieces are asked for."""

    model: RNN
    params: Mapping[str, Array]
    x: Array
    axis: int  # of time
    lengths: Any  # on the host
    mask: Array | None
    masks: Masks | Literal[False]  # of the whole sequence, or none

    @property
    def steps(self) -> int:
        """T."""
        return int(self.x.shape[self.axis])

    def part(self, array: Array, a: int, b: int) -> Array:
        """Return steps ``a`` to ``b`` of an array in the layout of x."""
        return _steps(array, self.axis, slice(a, b))

    def forward(self, a: int, b: int, state: Any) -> Forward:
        """Run through steps ``a`` to ``b``."""
        lengths = None if self.lengths is None else (self.lengths - a).clip(0, b - a)
        return forward(
            self.model,
            self.params,
            self.part(self.x, a, b),
            state,
            lengths=lengths,
            mask=None if self.mask is None else self.part(self.mask, a, b),
            dropout=self._masks(a, b),
        )

    def _masks(self, a: int, b: int) -> Masks | Literal[False]:
        if self.masks is False:
            return False
        return Masks(
            tuple(f[a:b, ...] for f in self.masks.between),
            self.masks.recurrent,
            tuple(tuple(u[a:b, ...] for u in update) for update in self.masks.update),
        )


def pieces_of(
    xp: Namespace,
    model: RNN,
    params: Mapping[str, Array],
    x: Array,
    lengths: Any,
    mask: Any,
    dropout: Any,
) -> Pieces:
    """Check what says which steps there are, and draw the masks of the whole sequence."""
    axis = 1 if model.batch_first and x.ndim == 3 else 0
    valid = steps_of(xp, model, x, lengths, mask).mask
    if valid is not None:
        mask = mask_outward(model, valid[:, :, 0], batched=x.ndim == 3)
        lengths = None
    elif lengths is not None:
        lengths = read_lengths(lengths, *sizes(model, x))
    masks: Masks | Literal[False] = False
    if dropout is not False:
        masks = masks_of(xp, model, x, dropout)
    return Pieces(model, params, x, axis, lengths, mask, masks)


class Sum:
    """The sum of many dicts of arrays, by halves: rounding grows with the logarithm."""

    def __init__(self) -> None:
        self._sums: list[
            tuple[int, dict[str, Array]]
        ] = []  # of 1, 2, 4 .. dicts, the largest first

    def add(self, found: dict[str, Array]) -> None:
        """Add one more."""
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
    """The sum of arrays along time, each of which begins within the one before, or at its end."""

    def __init__(self, axis: int) -> None:
        self._axis = axis
        self._done: list[Array] = []
        self._last: Array = None
        self._start = 0

    def add(self, start: int, parts: list[Array]) -> None:
        """Add an array, in parts, at its place; what lies before it is done."""
        xp, axis = namespace_of(part=parts[0]), self._axis
        array = xp.concat(parts, axis=axis) if len(parts) > 1 else parts[0]
        if self._last is not None:
            cut = start - self._start
            shared = self._last.shape[axis] - cut
            if shared:
                both = _steps(self._last, axis, slice(cut, None))
                both = both + _steps(array, axis, slice(shared))
                array = xp.concat([both, _steps(array, axis, slice(shared, None))], axis=axis)
            self._done.append(_steps(self._last, axis, slice(cut)))
        self._start, self._last = start, array

    def whole(self) -> Array:
        """Return the sum."""
        return namespace_of(part=self._last).concat([*self._done, self._last], axis=self._axis)


def _steps(array: Array, axis: int, rows: slice) -> Array:
    return array[:, rows, ...] if axis else array[rows, ...]
