"""Show a run while it goes on: rich's bar in a terminal, tqdm's in a notebook."""

import importlib
import importlib.util
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .._arrays import checks as check
from .run import Callback, Run

__all__ = ["Bar", "check_progress", "described", "shown"]

_INTERVAL = 0.1  # seconds between two updates of a bar, which take as long as a small step


def check_progress(progress: Any) -> str | None:
    """Check how a run is to be shown; return the library that shows it, None for silence.

    Raises
    ------
    ImportError
        If it is to be shown, and neither library is installed.
    """
    if isinstance(progress, str):
        check.choice("progress", progress, ("auto",))
    elif not check.flag("progress", progress):
        return None
    visible = _in_notebook() or getattr(sys.stderr, "isatty", bool)()
    if progress == "auto" and not visible:
        return None
    for library in ("tqdm", "rich") if _in_notebook() else ("rich", "tqdm"):
        if importlib.util.find_spec(library) is not None:
            return library
    if progress == "auto":
        return None
    raise ImportError(
        "progress: expected rich or tqdm to be installed, found neither; "
        "pip install 'portable-rnn[progress]', or give progress=False"
    )


def _in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


@contextmanager
def shown(library: str | None, run: Run) -> Iterator[tuple[Callback, ...]]:
    """Show a run while it goes on; give the callbacks that do so."""
    if library is None:
        yield ()
        return
    with (_rich if library == "rich" else _tqdm)(run) as bar:
        yield (bar,)


def described(run: Run) -> str:
    """Return the losses and metrics of a run, those of validation in brackets."""
    parts = [] if math.isnan(run.loss) else [f"loss {run.loss:.4g}"]
    parts += [f"{name} {value:.4g}" for name, value in run.metrics.items()]
    if not math.isnan(run.evaluation):
        held = {"loss": run.evaluation, **run.evaluation_metrics}
        inside = ", ".join(f"{name} {value:.4g}" for name, value in held.items())
        parts.append(f"[validation: {inside}]")
    return "  ".join(parts)


class Bar(Callback):
    """Pass on where a run stands, at most ten times a second."""

    def __init__(self, update: Any) -> None:
        self._update, self._at = update, -math.inf

    def on_step(self, run: Run) -> None:
        """Show the step."""
        if time.monotonic() - self._at >= _INTERVAL:
            self._show(run)

    def on_end(self, run: Run) -> None:
        """Show how the run ended."""
        self._show(run)

    def _show(self, run: Run) -> None:
        self._update(run.step, described(run))
        self._at = time.monotonic()


@contextmanager
def _rich(run: Run) -> Iterator[Bar]:
    """Show a run by rich's progress bar."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[said]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("training", total=run.steps, completed=run.step, said="")
        yield Bar(lambda step, said: progress.update(task, completed=step, said=said))


@contextmanager
def _tqdm(run: Run) -> Iterator[Bar]:
    """Show a run by tqdm's progress bar."""
    auto: Any = importlib.import_module("tqdm.auto")
    with auto.tqdm(total=run.steps, initial=run.step, unit="step") as bar:

        def update(step: int, said: str) -> None:
            bar.set_postfix_str(said, refresh=False)
            bar.update(step - bar.n)

        yield Bar(update)
