"""How time is cut into stretches.

A network is walked in stretches of about `ROWS` rows (steps times sequences), so that what is
hoisted out of the time loop fits a cache and stays small beside the tape. Libraries that trace, or
cannot write into an array, get one stretch.

Sequences of different lengths, sorted by length, are a staircase: a stretch ends where a sequence
does, and the next one is narrower. Padding is then never computed, and nothing needs a mask. Whole
arrays stay in the order of the caller's: each stretch gathers its sequences, and puts them back.

Under a memory budget stretches may have to be smaller. They are parts of those of the full size,
their blocks: gradients of weights are summed for each block first, and so round as they do there.
"""

from collections.abc import Iterator
from typing import NamedTuple

from ._namespace import Array, Namespace, device_of, in_one_piece

__all__ = ["ROWS", "Stretch", "Units", "cut", "place", "units"]

# As its half, quarter and eighth, a multiple of the tiles of matrix libraries (24 rows in OpenBLAS
# for AVX2 and float32): then no row of a product depends on how many there are in a stretch.
ROWS = 384


class Stretch(NamedTuple):
    """A rectangle of steps and sequences: the first ``width`` of those sorted by length."""

    rows: slice
    width: int
    block: int = 0  # which stretch of the full size it is, or is a part of
    order: Array | None = None  # (width,); which sequences they are; None: the first of the batch
    inverse: Array | None = None  # (B,); where in the order each sequence is

    def of(self, xp: Namespace, array: Array) -> Array:
        """Return the part of an array (T, B, ...), or (T, 1, ...), that lies in the stretch."""
        return self.sequences(xp, array[self.rows, ...], axis=1)

    def sequences(self, xp: Namespace, array: Array, *, axis: int) -> Array:
        """Return the sequences of the stretch, of all along ``axis``, or of one for all."""
        if array.shape[axis] == 1:
            return array
        if self.order is not None:
            return xp.take(array, self.order, axis=axis)
        if self.width == array.shape[axis]:
            return array
        return array[: self.width, ...] if axis == 0 else array[:, : self.width, ...]


class Units(NamedTuple):
    """How stretches are put together to units, which are run again if not all can be kept."""

    stretch: int  # most rows of a stretch
    unit: int  # most rows of a unit
    slots: int  # states that are kept (see portable_rnn.recompute)


def cut(
    xp: Namespace,
    steps: int,
    batch: int,
    rows: int | None = None,
    widths: tuple[int, ...] | None = None,
    order: Array | None = None,
    inverse: Array | None = None,
) -> list[Stretch]:
    """Cut time into stretches of about ``rows`` rows, or `ROWS`.

    ``widths`` tells how many sequences each step has, falling from step to step; None: all.
    ``order`` (B,) tells which they are; None: the first. ``inverse`` is its inverse permutation.
    """
    if in_one_piece(xp):
        return [Stretch(slice(0, steps), batch)]
    found = []
    for number, (block, width) in enumerate(_blocks(steps, batch, widths)):
        first = None if order is None else order[:width]
        size = max(1, (rows or ROWS) // width)
        for start in range(block.start, block.stop, size):
            part = slice(start, min(start + size, block.stop))
            found.append(Stretch(part, width, number, first, inverse))
    return found


def _blocks(steps: int, batch: int, widths: tuple[int, ...] | None) -> Iterator[tuple[slice, int]]:
    """Yield rectangles of about `ROWS` rows: their steps, and how many sequences."""
    start = 0
    while start < steps and (width := batch if widths is None else widths[start]):
        end = min(start + max(1, ROWS // width), steps)
        if widths is not None:
            end = next((t for t in range(start, end) if widths[t] != width), end)
        yield slice(start, end), width
        start = end


def units(stretches: list[Stretch], rows: int | None) -> list[list[Stretch]]:
    """Group stretches to units of at most ``rows`` rows, or of one stretch; None: to one unit."""
    if rows is None:
        return [stretches] if stretches else []
    found: list[list[Stretch]] = []
    left = 0
    for stretch in stretches:
        size = stretch.width * (stretch.rows.stop - stretch.rows.start)
        if size > left:
            found.append([])
            left = rows
        found[-1].append(stretch)
        left -= size
    return found


def place(
    xp: Namespace, whole: Array | None, part: Array, stretch: Stretch, steps: int, batch: int
) -> Array:
    """Write ``part`` into its place in a new array (T, B, ...), made when first needed."""
    if stretch.inverse is not None:
        part = _put_back(xp, part, stretch.inverse, stretch.width)
    if tuple(part.shape[:2]) == (steps, batch):
        return part
    if whole is None:
        # Zeros are there to stay where no stretch comes.
        shape = (steps, batch, *part.shape[2:])
        whole = xp.zeros(shape, dtype=part.dtype, device=device_of(part))
    if part.shape[1] == batch:
        whole[stretch.rows, ...] = part
    else:
        whole[stretch.rows, : stretch.width, ...] = part
    return whole


def _put_back(xp: Namespace, part: Array, inverse: Array, width: int) -> Array:
    """Return all sequences in their order, with zeros for those that the stretch has not got."""
    if width == inverse.shape[0]:
        return xp.take(part, inverse, axis=1)
    # No standard function scatters. The others gather a column of zeros.
    part = xp.concat([part, xp.zeros_like(part[:, :1, ...])], axis=1)
    inverse = xp.where(inverse < width, inverse, xp.full_like(inverse, width))
    return xp.take(part, inverse, axis=1)
