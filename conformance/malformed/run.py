"""Make the calls of a campaign in separate processes, which may hang, crash or grow."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .campaign import FINE, Outcome, make_calls

__all__ = ["run"]

ROOT = Path(__file__).parents[2]
TIMEOUT = "Timeout ("  # what faulthandler says before it ends a process


def run(
    row: str,
    places: Iterable[tuple[str, str]],
    *,
    count: int | None = None,
    seed: int = 0,
    seconds: float | None = None,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Return the outcomes of the calls of a campaign on one row.

    Parameters
    ----------
    row : str
    places : iterable of (function, argument)
    count : int, optional
        Calls to draw by the ``seed``. Without it, all with one wrong argument are made, for each
        function until one has a wrong outcome.
    seconds : float, optional
        Time after which a call counts as hung.
    on_outcome : callable
        Called with each outcome.

    Raises
    ------
    RuntimeError
        If the process ended for another reason than a call that hung or crashed.
    """
    options = {"places": list(places), "count": count, "seed": seed, "seconds": seconds}
    found: list[Outcome] = []
    start = 0
    while True:
        wrong = [one.function for one in found if one.outcome not in FINE] if count is None else []
        pending, ended, errors = _process(
            row, options | {"start": start, "skip": wrong}, found, on_outcome
        )
        if ended:
            return found
        if pending is None or not (TIMEOUT in errors or "Traceback (" not in errors):
            raise RuntimeError(f"{row}: the process ended before its calls\n{errors}")
        start = pending[0] + 1
        found.append(pending[1])
        on_outcome(pending[1])


def _process(
    row: str, options: dict[str, Any], found: list[Outcome], on_outcome: Callable[[Outcome], None]
) -> tuple[tuple[int, Outcome] | None, bool, str]:
    """Add outcomes of calls; return one that never ended, whether all are made, and errors."""
    pending, ended = None, False
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(
            [sys.executable, "-m", __name__, row, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            with process.stdin as pipe:
                pipe.write(json.dumps(options))
            for line in process.stdout:
                number, values = json.loads(line)
                if values is None:
                    ended = True
                elif pending is None:
                    pending = number, _outcome(*values)
                else:
                    pending = None
                    found.append(_outcome(*values))
                    on_outcome(found[-1])
        errors.seek(0)
        return pending, ended, errors.read()


def _outcome(row: str, function: str, replaced: list[list[str]], *rest: Any) -> Outcome:
    return Outcome(row, function, tuple((a, kind, label) for a, kind, label in replaced), *rest)


def main(row: str, folder: str) -> None:
    """Make calls and print one line for each; their own output is redirected to stderr."""
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    options = json.loads(sys.stdin.read())
    options["places"] = [(function, argument) for function, argument in options["places"]]
    for line in make_calls(row, Path(folder), **options):
        print(json.dumps(line), file=lines, flush=True)
    print(json.dumps([0, None]), file=lines, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
