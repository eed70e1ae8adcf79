"""Which states to keep, and which to recompute, for a backward pass in little memory.

Time is cut into ``n`` segments. To go back through a segment, it has to be run from the state
before it. The initial state is always kept, and ``checkpoints`` others can be. With ``n - 1``
checkpoints each segment but the last is run once more; with fewer, states are recomputed from the
last one that was kept, and the best places to keep them are binomial:

Griewank and Walther, *Algorithm 799: revolve* (ACM TOMS 2000); Gruslys et al., *Memory-efficient
backpropagation through time* (arXiv 1606.03401), whose policy for hidden states is used here.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from math import comb
from typing import TypeVar

__all__ = ["evaluations", "initial_checkpoints", "reverse_segments", "split"]

S = TypeVar("S")


def split(n: int, checkpoints: int) -> int:
    """Return after how many of ``n`` segments (2 or more) to keep the next state."""
    # Both parts are best if they fill the capacity of r - 1 sweeps and of r.
    r = sweeps(n, checkpoints)
    return max(1, min(comb(checkpoints + r, r - 1), n - comb(checkpoints + r - 1, r - 1)))


def sweeps(n: int, checkpoints: int) -> int:
    """Return the smallest r so that no segment has to run more than r times to go back through n.

    Running none more than r times, at most comb(checkpoints + r + 1, r) segments can be gone back
    through (Griewank and Walther, proposition 1).
    """
    high = 1
    while comb(checkpoints + high + 1, high) < n:
        high *= 2
    return bisect_left(range(high + 1), n, key=lambda r: comb(checkpoints + r + 1, r))


def initial_checkpoints(n: int, checkpoints: int) -> list[int]:
    """Return the segments before which the first run keeps the state, except segment 0."""
    places, start = [], 0
    while n - start > 1 and checkpoints > 0:
        start += split(n - start, checkpoints)
        places.append(start)
        checkpoints -= 1
    return places


def evaluations(n: int, checkpoints: int) -> int:
    """Return how many segments are run to go back through ``n``, after the first run.

    This is the cost of `reverse_segments` in closed form (Griewank and Walther, equation 4): all
    are run r times, except those for which fewer sweeps suffice.
    """
    r = sweeps(n, checkpoints)
    return r * n - comb(checkpoints + r + 1, r - 1) if r else 0


def reverse_segments(
    n: int,
    checkpoints: int,
    kept: dict[int, S],
    advance: Callable[[S, int, int], S],
) -> Iterator[tuple[int, S]]:
    """Yield each segment and the state before it, from the last segment to the first.

    The first run keeps all records of the last segment: the state yielded for it may be an older
    one.

    Parameters
    ----------
    n, checkpoints : int
    kept : dict of int to state
        From the first run: the state before segment 0, and before each of `initial_checkpoints`.
        Each is removed, and released when it is no longer needed.
    advance : callable, ``(state, start, end) -> state``
        Runs segments from the state before ``start`` to that before ``end``.
    """
    stack, end = [(0, kept.pop(0))], n
    while stack:
        start, state = stack[-1]
        free = checkpoints + 1 - len(stack)
        if start == end - 1:
            stack.pop()
            yield start, state
            end -= 1
        elif free == 0:
            yield end - 1, state if end == n else advance(state, start, end - 1)
            end -= 1
        else:
            middle = start + split(end - start, free)
            later = kept.pop(middle) if middle in kept else advance(state, start, middle)
            stack.append((middle, later))
