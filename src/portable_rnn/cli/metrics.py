"""``metrics.jsonl``: one JSON object a line, true to the run whatever happens to it.

Each line has the checksum of the run's configuration, by which a file of another run is known, and
ends with one (CRC-32) of itself and all lines before it, so that none can be changed, lost or moved
unseen.
"""

import json
import math
import os
import time
import zlib
from pathlib import Path
from typing import Any

from rich.markup import escape

from .._files.atomic import naming, write_atomically
from ..serialization import CheckpointError
from ..training import Callback, Run
from .settings import CHECKSUM, CONFIG
from .terminal import Console

__all__ = ["MetricsFile", "read_metrics"]

START = b'{"step": '  # of every line


class MetricsFile(Callback):
    """Appends what is measured. On resume, drops what came after the checkpoint."""

    def __init__(self, path: Path, config: str, evaluate_every: int) -> None:
        self._path, self._config, self._evaluate_every = path, config, evaluate_every
        self._started = time.monotonic()
        self._before = 0.0
        self._sum = 0

    def on_start(self, run: Run) -> None:
        """Keep the lines up to the step at which the run goes on."""
        lines = read_metrics(self._path, self._config)
        kept = [line for line in lines if line["step"] <= run.step]
        self._compare(run, kept)
        self._sum = 0
        write_atomically(self._path, b"".join(map(self._line, kept)))
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
        with naming(self._path), self._path.open("ab") as file:
            line = {"step": run.step, "seconds": seconds} | values | {"config": self._config}
            file.write(self._line(line))
            file.flush()
            os.fsync(file.fileno())  # before a checkpoint that has these numbers

    def _line(self, values: dict[str, Any]) -> bytes:
        self._sum = _sum(values, self._sum)
        return json.dumps(values | {CHECKSUM: f"{self._sum:08x}"}).encode() + b"\n"

    def _compare(self, run: Run, kept: list[dict[str, Any]]) -> None:
        """See that the last lines are what the checkpoint has; if there are none such, say so.

        Lines before are held together by their checksums, so none can be missing but at the end.
        """
        every = self._evaluate_every
        lost = False
        for name, nats, step in (
            ("training_bits", run.loss, run.step - len(run.pending)),
            (
                "validation_bits",
                run.evaluation,
                run.step if run.done else run.step // every * every,
            ),
        ):
            last = [(line["step"], line[name]) for line in kept if name in line][-1:]
            measured = [] if math.isnan(nats) else [(step, nats / math.log(2))]
            if measured and (not last or last[0][0] < step):
                lost = True
            elif last != measured:
                raise CheckpointError(
                    f"{self._path}: is not of this run; restore it from a copy, or begin again "
                    "with another --out"
                )
        if lost:
            Console(stderr=True, highlight=False, soft_wrap=True).print(
                f"[bold yellow]warning:[/] {escape(str(self._path))}: has lost its last lines, up "
                f"to step {run.step}; going on without them"
            )


def read_metrics(path: Path, config: str | None = None) -> list[dict[str, Any]]:
    """Read the lines of a metrics file; a line cut short by a crash ends it.

    Raises
    ------
    CheckpointError
        If it cannot be read, a line is damaged, or it is not of the run whose configuration has
        the checksum ``config``.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    lines: list[dict[str, Any]] = []
    before = 0
    *whole, rest = content.split(b"\n")
    if not START.startswith(rest.rstrip(b"\0")[: len(START)]):  # zeros: of some file systems
        whole.append(rest)
    for number, text in enumerate(whole, start=1):
        try:
            values = json.loads(text)
            checksum = values.pop(CHECKSUM)
            before = _sum(values, before)
            good = checksum == f"{before:08x}"
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            good = False
        if not good:
            raise CheckpointError(
                f"{path}: line {number} is damaged, or was edited; "
                "restore it from a copy, or begin again with another --out"
            )
        lines.append(values)
    for line in lines if config is not None else ():
        if "config" not in line:
            raise CheckpointError(
                f"{path}: was written by an earlier version, which did not record its run; "
                "delete it to continue without it"
            )
        if line["config"] != config:
            raise CheckpointError(
                f"{path}: is not of the run that {CONFIG} describes; restore both from a copy, or "
                "delete it to continue without it"
            )
    return lines


def _sum(values: dict[str, Any], before: int) -> int:
    return zlib.crc32(json.dumps(values).encode(), before)
