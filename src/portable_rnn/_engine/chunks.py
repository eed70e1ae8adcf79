"""Cut time into chunks.

A network is run in chunks of limited rows (steps times sequences, `most_rows`), so that what is
hoisted out of the time loop fits a cache and stays small compared with the tape. Libraries that
trace, or cannot write into an array, get one chunk.

Sequences of different lengths, sorted by length, form a staircase: a chunk ends where a sequence
does, and the next one is narrower. Padding is then never computed, and nothing needs a mask. Whole
arrays stay in the caller's order: each chunk gathers its sequences, and scatters them back.

Under a memory budget chunks may have to be smaller. They are then parts of full-size chunks, called
blocks: weight gradients are summed per block first, and so round as they do without a budget.
"""

from typing import NamedTuple

from .._arrays.namespace import Array, Namespace, device_of
from ..cells import State
from .setup import Setup

__all__ = ["ROWS", "Chunk", "cut_into_chunks", "full_steps", "most_rows", "write_chunk"]

# This, its half, quarter and eighth are multiples of the rows that matrix libraries take at once.
ROWS = 384
NUMBERS = 3 * 2**16  # entries of ax up to which a chunk may have more rows
GPU_NUMBERS = 2**26  # has no such cache, and a chunk costs it as much as a few steps


class Chunk(NamedTuple):
    """A rectangle of steps and sequences: the first ``width`` of those sorted by length."""

    rows: slice
    width: int
    block: int = 0  # the full-size chunk that it is, or is part of
    order: Array | None = None  # (width,); which sequences they are; None: the first of the batch
    scatter_index: Array | None = None  # (B,); where each sequence is among them, or ``width``

    def of(self, xp: Namespace, array: Array) -> Array:
        """Return the part of an array (T, B, ...), or (T, 1, ...), that lies in the chunk."""
        return self.sequences(xp, array[self.rows, ...], axis=1)

    def sequences(self, xp: Namespace, array: Array, *, axis: int) -> Array:
        """Return the chunk's sequences of an array with all along ``axis``, or with one for all."""
        if array.shape[axis] == 1:
            return array
        if self.order is not None:
            return xp.take(array, self.order, axis=axis)
        if self.width == array.shape[axis]:
            return array
        return array[: self.width, ...] if axis == 0 else array[:, : self.width, ...]

    def take_active(self, state: State) -> State:
        """Return the states (B, H) of the first ``width`` sequences."""
        if self.width >= state[0].shape[0]:
            return state
        return tuple(part[: self.width, :] for part in state)

    def restore_inactive(self, xp: Namespace, active: State, whole: State) -> State:
        """Undo `take_active`; the other sequences are taken from ``whole``."""
        if self.width >= whole[0].shape[0]:
            return active
        return tuple(xp.concat([n, w[self.width :, :]]) for n, w in zip(active, whole, strict=True))


def most_rows(numbers: int, *, gpu: bool = False) -> int:
    """Return the rows of a full-size chunk, given the entries of ax in each row."""
    return ROWS * max(1, (GPU_NUMBERS if gpu else NUMBERS) // (ROWS * numbers))


def full_steps(rows: int, width: int) -> int:
    """Return how many steps of ``width`` sequences make a chunk of ``rows`` rows."""
    return max(1, rows // width)


def cut_into_chunks(s: Setup, steps: int, batch: int) -> list[list[Chunk]]:
    """Cut time into chunks, by segment; without a memory budget, into one segment of full chunks.

    In ``s``, ``widths`` is the number of sequences at each step, nonincreasing; None: all.
    ``order`` (B,) says which they are; None: the first. ``inverse`` is its inverse permutation.
    """
    widths, limits = s.widths, s.segments
    all_there = widths is None and limits is None
    if s.executor.whole_sequence or (all_there and steps <= full_steps(s.rows, batch)):
        return [[Chunk(slice(0, steps), batch)]]
    found: list[list[Chunk]] = []
    start = block_end = left = 0
    last = Chunk(slice(0, 0), 0, -1)
    while start < steps and (width := batch if widths is None else widths[start]):
        if width != last.width:
            first, index = _gathered(s, width)
            last = last._replace(width=width, order=first, scatter_index=index)
            block_end = start
        if start >= block_end:
            last, block_end = last._replace(block=last.block + 1), start + full_steps(s.rows, width)
        if not found or (limits and left < width):
            found.append([])
            left = limits.segment if limits else 0
        most = min(limits.chunk, left) if limits else s.rows
        end = min(start + max(1, most // width), steps)
        if widths is not None:
            end = next((t for t in range(start, end) if widths[t] != width), end)
        last = last._replace(rows=slice(start, end))
        found[-1].append(last)
        left -= width * (end - start)
        start = end
    return found


def _gathered(s: Setup, width: int) -> tuple[Array | None, Array | None]:
    """Return which sequences the first ``width`` are, and where each sequence is among them."""
    xp, order, inverse = s.xp, s.order, s.inverse
    if order is None or inverse is None or width == order.shape[0]:
        return order, inverse
    return order[:width], xp.where(inverse < width, inverse, xp.full_like(inverse, width))


def write_chunk(
    xp: Namespace, whole: Array | None, part: Array, chunk: Chunk, size: tuple[int, int]
) -> Array:
    """Write ``part`` into its place in an array (T, B, ...), created when first needed."""
    steps, batch = size
    if chunk.scatter_index is not None:
        if chunk.width < batch:
            # The standard has no scatter. Sequences outside the chunk gather a column of zeros.
            part = xp.concat([part, xp.zeros_like(part[:, :1, ...])], axis=1)
        part = xp.take(part, chunk.scatter_index, axis=1)
    if tuple(part.shape[:2]) == (steps, batch):
        return part
    if whole is None:
        # Zeros remain where no chunk writes.
        shape = (steps, batch, *part.shape[2:])
        whole = xp.zeros(shape, dtype=part.dtype, device=device_of(part))
    if part.shape[1] == batch:
        whole[chunk.rows, ...] = part
    else:
        whole[chunk.rows, : chunk.width, ...] = part
    return whole
