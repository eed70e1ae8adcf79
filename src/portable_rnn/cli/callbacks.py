"""What watches a run of ``portable-rnn train``: its best weights, the clock, a progress bar."""

import math
import time
from pathlib import Path

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from ..serialization import save_arrays
from ..training import Callback, Run
from .settings import UNLIMITED
from .terminal import Console

__all__ = ["BITS", "Bar", "TimeLimit", "Weights", "progress_bar"]

BITS = 1 / math.log(2)  # in a nat


class Weights(Callback):
    """Keeps the best parameters in a file of their own, for `sample` and for others."""

    def __init__(self, path: Path, config: str) -> None:
        self._path, self._header = path, {"config": config}

    def on_save(self, run: Run, path: Path) -> None:
        """Write the best parameters; before the first evaluation, the latest."""
        save_arrays(self._path, run.best_params or run.params, self._header)


class TimeLimit(Callback):
    """Ends a run after some minutes."""

    def __init__(self, minutes: float) -> None:
        self._minutes, self._end = minutes, math.inf

    def on_start(self, run: Run) -> None:
        """Start the clock."""
        self._end = time.monotonic() + 60 * self._minutes

    def on_step(self, run: Run) -> None:
        """Look at the clock."""
        if time.monotonic() >= self._end:
            run.stop(f"{self._minutes:g} minutes are over")


class Bar(Callback):
    """A progress bar: loss in bits per character, speed, time left."""

    def __init__(self, progress: Progress, characters: int) -> None:
        self._progress, self._characters = progress, characters
        self.first = 0

    def on_start(self, run: Run) -> None:
        """Show the bar where the run stands."""
        total = None if run.steps == UNLIMITED else run.steps
        self.first, self._started = run.step, time.monotonic()
        self._task = self._progress.add_task(
            "training", total=total, completed=run.step, bits="", held_out="", speed=""
        )

    def on_step(self, run: Run) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=run.step)

    def on_log(self, run: Run) -> None:
        """Show loss and speed."""
        seconds = time.monotonic() - self._started
        speed = (run.step - self.first) * self._characters / seconds / 1000
        self._progress.update(
            self._task, bits=f"{run.loss * BITS:.3f} bits/char", speed=f"{speed:.0f}k/s"
        )

    def on_evaluate(self, run: Run) -> None:
        """Show the validation loss."""
        self._progress.update(self._task, held_out=f"(held out {run.evaluation * BITS:.3f})")


def progress_bar(console: Console) -> Progress:
    """Return the bar of a run, without a task."""
    return Progress(
        BarColumn(bar_width=8),
        MofNCompleteColumn(),
        TextColumn("[bold]{task.fields[bits]}[/]"),
        TextColumn("{task.fields[held_out]}"),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        console=console,
    )
