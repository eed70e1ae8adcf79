"""``metrics.jsonl``: one JSON object a line, true to the run whatever happens to it."""

import json
import math
import time
from pathlib import Path
from typing import Any

from ..serialization import write_atomically
from ..training import Callback, Run

__all__ = ["MetricsFile", "read_metrics"]


class MetricsFile(Callback):
    """Appends what is measured. On resume, drops what came after the checkpoint."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._started = time.monotonic()
        self._before = 0.0

    def on_start(self, run: Run) -> None:
        """Keep the lines up to the step at which the run goes on."""
        kept = [line for line in read_metrics(self._path) if line["step"] <= run.step]
        write_atomically(self._path, "".join(map(_line, kept)).encode())
        self._started = time.monotonic()
        self._before = kept[-1]["seconds"] if kept else 0.0

    def on_log(self, run: Run) -> None:
        """Write the training loss in bits per character."""
        self._append(run, training_bits=run.loss / math.log(2), learning_rate=run.learning_rate)

    def on_evaluate(self, run: Run) -> None:
        """Write the validation loss in bits per character."""
        self._append(run, validation_bits=run.evaluation / math.log(2))

    def _append(self, run: Run, **values: float) -> None:
        seconds = round(self._before + time.monotonic() - self._started, 3)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line({"step": run.step, "seconds": seconds} | values))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a metrics file; a line cut short by a crash ends it."""
    lines: list[dict[str, Any]] = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                break
    return lines


def _line(values: dict[str, Any]) -> str:
    return json.dumps(values) + "\n"
