"""Make the calls of a campaign in processes of their own, which may hang, swell or crash."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from .campaign import Outcome, make_calls

__all__ = ["run"]

ROOT = Path(__file__).parents[2]
BEGUN, DONE = "begun", "done"


def run(
    row: str,
    *,
    count: int = 0,
    seed: int = 0,
    places: Iterable[tuple[str, str]],
    exhaustive: bool = False,
    told: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Return what became of each call on one row.

    Raises
    ------
    RuntimeError
        If the process ended before its first call.
    """
    options = {"count": count, "seed": seed, "places": list(places), "exhaustive": exhaustive}
    found: list[Outcome] = []
    while True:
        begun = len(found)
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "conformance.malformed.run", row, folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=folder,
                env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
            )
            assert process.stdin and process.stdout
            process.stdin.write(json.dumps(options | {"start": begun}))
            process.stdin.close()
            last, ended = None, False
            for line in process.stdout:
                kind, *values = json.loads(line)
                if kind == DONE:
                    ended = True
                elif kind == BEGUN:
                    last = _outcome(values)
                else:
                    found.append(_outcome(values))
                    last = None
                    told(found[-1])
            process.wait()
            if ended:
                return found
            if last is None:
                errors.seek(0)
                raise RuntimeError(f"{row}: no call was made\n{errors.read()}")
            found.append(last)
            told(last)


def _outcome(values: list) -> Outcome:
    row, function, replaced, *rest = values
    return Outcome(row, function, tuple(map(tuple, replaced)), *rest)


def main(row: str, folder: str) -> None:
    """Make calls, and write what becomes of each on a line; what they print goes elsewhere."""
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    options = json.loads(sys.stdin.read())
    options["places"] = [tuple(place) for place in options["places"]]
    kinds = (BEGUN, "made")
    for number, outcome in enumerate(make_calls(row, Path(folder), **options)):
        print(json.dumps([kinds[number % 2], *outcome]), file=lines, flush=True)
    print(json.dumps([DONE]), file=lines, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
