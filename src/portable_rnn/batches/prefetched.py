"""Batches that are read while the ones before them are computed with.

``concurrent.futures``, which imports ``logging``, is imported only where there is a thread.
"""

import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias

from .._arrays import checks as check
from .batch import Batch, Batches

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["Prefetched"]

WAIT = 1.0  # seconds until it is asked again whether the thread lives; also for Ctrl-C on Windows

Tasks: TypeAlias = "SimpleQueue[tuple[Future[Batch], int] | None]"


@check.named_options
class Prefetched:
    """A source whose next batches a thread reads ahead.

    Batches and their order are those of the source. Of use where a source reads files or
    decompresses, which runs beside computation; arrays in memory gain nothing.

    Parameters
    ----------
    source : Batches
        Its ``batch`` is called in another thread, one call at a time.
    count : int
        How many batches to read ahead.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.batches import Prefetched, Shuffled
    >>> source = Shuffled(np.zeros((5, 10, 3)), np.zeros((5, 10)), batch_size=4)
    >>> ahead = Prefetched(source)
    >>> [ahead.batch(step).x.shape[1] for step in range(ahead.steps_per_epoch)]
    [4, 4, 2]
    """

    def __init__(self, source: Batches, count: int = 2) -> None:
        if isinstance(source, type) or not callable(getattr(source, "batch", None)):
            wanted = "a source of batches, such as Chunked(...)"
            raise TypeError(f"source: expected {wanted}, got {check.said(source)}")
        self._source, self._count = source, check.count("count", count)
        self._thread: threading.Thread | None = None
        self._tasks: Tasks = SimpleQueue()
        self._waiting: dict[int, Future[Batch]] = {}

    def batch(self, step: int) -> Batch:
        """Return the batch of a step; begin to read those after it.

        Raises
        ------
        Exception
            What the source raised for this step.
        """
        from concurrent.futures import Future

        step = check.integer("step", step, least=0)
        if self._thread is None or not self._thread.is_alive():  # as in a process that was forked
            self._start()
        wanted = range(step, step + self._count + 1)
        for old in [one for one in self._waiting if one not in wanted]:
            self._waiting.pop(old).cancel()
        for one in wanted:
            if one not in self._waiting:
                self._waiting[one] = Future()
                self._tasks.put((self._waiting[one], one))
        return self._taken(self._waiting.pop(step))

    def _taken(self, future: "Future[Batch]") -> Batch:
        """Wait for a batch as long as there is a thread that reads it."""
        from concurrent.futures import wait

        while not future.done():
            alive = self._thread is not None and self._thread.is_alive()
            wait([future], timeout=WAIT)
            if not (alive or future.done()):
                raise RuntimeError("the thread that reads batches has ended")
        return future.result()

    def _start(self) -> None:
        """Start the thread; it ends when nothing refers to this object, and with the program."""
        self._tasks, self._waiting = SimpleQueue(), {}
        weakref.finalize(self, self._tasks.put, None).atexit = False
        self._thread = threading.Thread(
            target=_serve, args=(self._tasks, self._source.batch), daemon=True
        )
        self._thread.start()

    def __getattr__(self, name: str) -> Any:
        """Return what else the source has: ``steps_per_epoch``, ``describe``, ``batch_axis``."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._source, name)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the source, and read ahead anew."""
        return type(self), (self._source, self._count)


def _serve(tasks: Tasks, read: Callable[[int], Batch]) -> None:
    """Read batches as they are asked for, until there is None instead."""
    while (task := tasks.get()) is not None:
        future, step = task
        if not future.set_running_or_notify_cancel():
            continue
        try:
            future.set_result(read(step))
        except BaseException as error:  # it is raised where the batch is taken
            future.set_exception(error)
        del task, future  # or the batch would stay in memory until the next
