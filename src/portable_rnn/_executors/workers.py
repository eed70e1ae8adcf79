"""Threads that run compiled code and products at the same time; neither holds Python's lock."""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import lru_cache
from itertools import pairwise

__all__ = ["evenly", "run_together", "useful_threads"]

# Multiplications and additions for which waking a thread pays off: 0.1 ms, or more.
WORK = 3 * 2**21


def run_together(jobs: Sequence[Callable[[], object]]) -> None:
    """Run all jobs, the last one in this thread; return when every one has ended.

    They run in the context of the caller, such as NumPy's error state.

    Raises
    ------
    Exception
        That of the first job that raised one; or KeyboardInterrupt, when all have ended.
    """
    if not jobs:
        return
    *others, here = jobs
    waiting: list[Future[object]] = []
    interrupt: KeyboardInterrupt | None = None
    try:
        for job in map(_Once, others):
            try:
                waiting.append(_threads().submit(copy_context().run, job))
            except RuntimeError:  # the interpreter ends, or the system has no more threads
                job()  # which may be in the queue, too
        here()
    finally:
        while not all(one.done() for one in waiting):  # what they write is theirs until then
            try:
                wait(waiting)
            except KeyboardInterrupt as error:
                interrupt = error
    if interrupt is not None:
        raise interrupt
    for one in waiting:
        one.result()


class _Once:
    """A job that is run by the first that calls it; others wait until it has ended."""

    def __init__(self, job: Callable[[], object]) -> None:
        self._job = job
        self._error: BaseException | None = None
        self._free, self._ended = threading.Lock(), threading.Event()

    def __call__(self) -> None:
        if self._free.acquire(blocking=False):
            try:
                self._job()
            except BaseException as error:
                self._error = error
            finally:
                self._ended.set()
        self._ended.wait()
        if self._error is not None:
            raise self._error


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
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="portable_rnn")


if hasattr(os, "register_at_fork"):  # threads do not live on in a child
    os.register_at_fork(after_in_child=_threads.cache_clear)
