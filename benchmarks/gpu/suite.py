"""Stage: the conformance suite on CuPy's rows."""

import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from conformance.backends import BACKENDS

from .settings import Save, Settings

__all__ = ["run", "summary"]

FEW = ("conformance/test_functions.py", "conformance/test_streams.py", "-k", "gru or tanh")
WORKERS = ("-n", "4", "--dist", "worksteal")  # they share the device


def rows(*, rehearse: bool) -> list[str]:
    """Return the names of CuPy's rows that need a GPU; in a rehearsal, of one that does not."""
    names = [name for name, row in BACKENDS.items() if row.library == "cupy" and row.gpu]
    return ["cupy-host"] if rehearse else names


def run(settings: Settings, save: Save) -> dict[str, Any]:
    """Run the rows; return outcomes, and the worst errors in eps."""
    named = rows(rehearse=settings.rehearse)
    what = FEW if settings.rehearse else ("conformance",)
    if not settings.rehearse and find_spec("xdist"):
        what += WORKERS
    with tempfile.TemporaryDirectory() as folder:
        to = Path(folder) / "report.json"
        options = ("-q", f"--backend={','.join(named)}", f"--report-json={to}")
        done = subprocess.run([sys.executable, "-m", "pytest", *what, *options])
        document = json.loads(to.read_text(encoding="utf-8")) if to.exists() else None
    if document is None:
        return {"rows": named, "problems": [f"pytest ended with {done.returncode}, and no report"]}
    found = {"rows": named, "tests": list(what), **summary(document, named)}
    if done.returncode:
        found["problems"].append(f"pytest ended with {done.returncode}")
    return found


def summary(document: dict[str, Any], named: list[str]) -> dict[str, Any]:
    """Return results and failures of the named rows, from a report of the suite."""
    results = [result for result in document["results"] if result["backend"] in named]
    failures = [
        {key: note[key] for key in ("backend", "dtype", "reason", "tests")}
        for note in document["notes"]
        if note["backend"] in named and note["outcome"] in ("failed", "error")
    ]
    problems = [f"row {name} did not run" for name in named if name not in _ran(document)]
    problems += [
        f"{failed} tests failed on {result['backend']}, {result['dtype'] or 'no dtype'}"
        for result in results
        if (failed := result["failed"] + result["error"])
    ]
    return {"results": results, "failures": failures, "problems": problems}


def _ran(document: dict[str, Any]) -> set[str]:
    return {row["backend"] for row in document["rows"] if row["status"] == "ran"}
