"""Which states to keep, and which to compute again: going backwards through time in little memory.

Time is cut into ``n`` units. To go back through a unit, it has to be run from the state before it.
The state at the very start is always there, and ``slots`` others can be kept. With ``n - 1``
slots each unit is run once more; with fewer, states are found again by running from the last one
that was kept, and the best places to keep them are binomial:

Griewank and Walther, *Algorithm 799: revolve* (ACM TOMS 2000); Gruslys et al., *Memory-efficient
backpropagation through time* (arXiv 1606.03401), whose policy for hidden states this is.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from math import comb
from typing import TypeVar

__all__ = ["backwards", "evaluations", "first_places", "split"]

S = TypeVar("S")


def split(n: int, slots: int) -> int:
    """Return after how many of ``n`` units (2 or more) to keep the next state."""
    # The most units that can be gone through running none more than r times are comb(slots + r
    # + 1, r), and both parts are best where they fill what is possible with r - 1 and with r.
    r = 1
    while comb(slots + r + 1, r) < n:
        r += 1
    return max(1, min(comb(slots + r, r - 1), n - comb(slots + r - 1, r - 1)))


def first_places(n: int, slots: int) -> list[int]:
    """Return the units before which the first run keeps the state, beside the very first."""
    places, start = [], 0
    while n - start > 1 and slots > 0:
        start += split(n - start, slots)
        places.append(start)
        slots -= 1
    return places


@lru_cache
def evaluations(n: int, slots: int) -> int:
    """Return how many units are run to go back through ``n``, beside the first run."""
    run = 0

    def advance(state: None, start: int, end: int) -> None:
        nonlocal run
        run += end - start

    kept = dict.fromkeys([0, *first_places(n, slots)])
    for _ in backwards(n, slots, kept, advance):
        run += 1  # once more, with all that the way back needs
    return run - 1  # but for the last unit, of which the first run has kept it


def backwards(
    n: int,
    slots: int,
    kept: dict[int, S],
    advance: Callable[[S, int, int], S],
) -> Iterator[tuple[int, S]]:
    """Yield each unit and the state before it, from the last unit to the first.

    Of the last one the first run has kept everything: the state yielded may be an older one.

    Parameters
    ----------
    n, slots : int
    kept : dict of int to state
        Of the first run: the state before unit 0, and before each of `first_places`. Each is
        taken out, and given up when it is no longer needed.
    advance : callable, ``(state, start, end) -> state``
        Runs units from the state before ``start`` to that before ``end``.
    """
    stack, end = [(0, kept.pop(0))], n
    while stack:
        start, state = stack[-1]
        free = slots + 1 - len(stack)
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
