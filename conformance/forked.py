"""Run pytest in forks of a process that has imported what all runs need.

Planted bugs are a hundred runs of one test each, each on another copy of the library. Starting
Python and pytest takes longer than the test, so it is done once, and each run is a fork. ::

    with Forked() as forked:
        ended = forked.run(["tests/test_schedules.py"], source)

The library is not imported before the fork. Where there is no fork (Windows), each run is a new
process.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Ended", "Forked"]

ROOT = Path(__file__).parent.parent
QUIET = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:hypothesispytest")
# Neither tests, which import the library, nor modules with threads, which do not survive a fork.
NEEDED = ("numpy", "mpmath", "rich.table", "rich.console", "array_api_compat.numpy")


class Ended(NamedTuple):
    """The result of a run."""

    returncode: int
    stdout: str


class Forked:
    """A process that is forked for each run; not thread-safe."""

    def __enter__(self) -> "Forked":
        self._process: Any = None
        if hasattr(os, "fork"):
            self._process = subprocess.Popen(
                [sys.executable, __file__],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
            )
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is not None:
            self._process.stdin.close()
            self._process.stdout.close()
            self._process.wait()

    def run(self, arguments: list[str], source: Path) -> Ended:
        """Run pytest with the library of the folder ``source``."""
        environ = {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
        if self._process is None:
            command = [sys.executable, "-m", "pytest", *QUIET, *arguments]
            done = subprocess.run(
                command, cwd=ROOT, env=os.environ | environ, capture_output=True, text=True
            )
            return Ended(done.returncode, done.stdout)
        self._process.stdin.write(json.dumps([[*QUIET, *arguments], environ]) + "\n")
        self._process.stdin.flush()
        return Ended(*json.loads(self._process.stdout.readline()))


def _serve() -> None:
    """Fork for each line of standard input; answer with the result."""
    import importlib

    import pytest

    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for name in NEEDED:
        importlib.import_module(name)
    sys.path[0] = str(ROOT)  # not the folder of this file
    pytest.main([*QUIET, "--version"])  # imports its plugins
    for line in sys.stdin:
        arguments, environ = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            for stream in (1, 2):
                os.dup2(writing, stream)
            os.environ |= environ
            sys.path.insert(0, environ["PYTHONPATH"])
            code = int(pytest.main(arguments))
            sys.stdout.flush()
            os._exit(code)
        os.close(writing)
        with os.fdopen(reading, encoding="utf-8", errors="replace") as output:
            said = output.read()
        _, status = os.waitpid(child, 0)
        answers.write(json.dumps([os.waitstatus_to_exitcode(status), said]) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve()
