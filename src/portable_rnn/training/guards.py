"""What ends a run: interruptions, and numbers that are no longer finite."""

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .._arrays.host import numbers_to_host
from .._arrays.namespace import Namespace
from .run import Run

__all__ = ["check_finite_params", "finite_mean_loss", "interruptible", "read_pending"]

_REASONS: dict[int, str] = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}  # of a stop


def finite_mean_loss(run: Run) -> float:
    """Return the mean of the pending losses; raise if the run has diverged."""
    return read_pending(run, norm=False)[0]


def read_pending(run: Run, *, norm: bool = True) -> tuple[float, float]:
    """Return the mean of the pending losses, and the pending norm, read at once."""
    if not run.pending:
        return run.loss, run.gradient_norm
    last = [run.pending_norm] if norm and run.pending_norm is not None else []
    read = numbers_to_host([*run.pending, *last])
    losses = [loss for loss in read[: len(run.pending)] if not math.isnan(loss)]
    mean = sum(losses) / len(losses) if losses else math.nan
    if losses and not math.isfinite(mean):
        raise FloatingPointError(
            f"loss: expected a finite number, got NaN or infinity by step {run.step}, and nothing "
            "was saved; see that inputs are finite and labels in range, lower lr, or set max_norm"
        )
    return mean, read[-1] if last else math.nan


def check_finite_params(xp: Namespace, run: Run) -> None:
    """Refuse to save parameters that the last update has made NaN or infinite."""
    finite = numbers_to_host([xp.all(xp.isfinite(param)) for param in run.params.values()])
    for name, good in zip(run.params, finite, strict=True):
        if not good:
            raise FloatingPointError(
                f"params[{name!r}]: expected finite numbers, got NaN or infinity by step "
                f"{run.step}, and nothing was saved; lower lr, or set max_norm"
            )


@contextmanager
def interruptible(run: Run, *, enabled: bool) -> Iterator[set[int]]:
    """Turn the first Ctrl-C, or SIGTERM, into a request to stop; the second one acts as before.

    Yields the signals that were received. SIGTERM is left to a handler that the user has set.
    """
    received: set[int] = set()
    if not enabled or threading.current_thread() is not threading.main_thread():
        yield received
        return

    def request(signum: int, frame: Any) -> None:
        received.add(signum)
        run.stop(_REASONS[signum])
        signal.signal(signum, before[signum])

    before: dict[int, Any] = {signum: signal.getsignal(signum) for signum in _REASONS}
    if before[signal.SIGTERM] != signal.SIG_DFL:
        del before[signal.SIGTERM]
    for signum in before:
        signal.signal(signum, request)
    try:
        yield received
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
