"""Threads that run compiled code and products at the same time; neither holds Python's lock."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise

__all__ = ["evenly", "run_together", "useful_threads"]

# Multiplications and additions for which waking a thread pays off: 0.1 ms, or more.
WORK = 3 * 2**21


def run_together(jobs: Sequence[Callable[[], object]]) -> None:
    """Run all jobs, the last one in this thread; return when every one has ended.

    Raises
    ------
    Exception
        That of the first job that raised one.
    """
    if not jobs:
        return
    *others, here = jobs
    waiting = [_pool().submit(job) for job in others]
    try:
        here()
    finally:
        errors = [one.exception() for one in waiting]  # waits: memory is theirs until then
    for error in errors:
        if error is not None:
            raise error


def evenly(size: int, parts: int, multiple: int = 1) -> list[tuple[int, int]]:
    """Return where at most so many parts of a range begin and end, which are multiples."""
    count = -(-size // multiple)
    ends = [min(size, multiple * (count * i // parts)) for i in range(parts + 1)]
    ends[-1] = size
    return [(a, b) for a, b in pairwise(ends) if a < b]


def useful_threads(most: int, work: int) -> int:
    """Return how many threads so many multiplications and additions are worth."""
    return max(1, min(most, work // WORK))


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="portable_rnn")


if hasattr(os, "register_at_fork"):  # threads do not live on in a child
    os.register_at_fork(after_in_child=_pool.cache_clear)
