"""Stage: compute-sanitizer on a script that runs all kernels (``kernels.py``).

Without the tool the script is run by itself.
"""

import re
import shutil
import subprocess
import sys
from typing import Any

from .settings import NotAvailable, Save, Settings

__all__ = ["run"]

TOOLS = ("memcheck", "racecheck", "synccheck")
FOUND = 99  # the exit status if the tool found something


def run(settings: Settings, save: Save) -> dict[str, Any]:
    """Return for each tool its exit status, and the last lines that it printed."""
    script = [sys.executable, "-m", "benchmarks.gpu.kernels", *["--rehearse"] * settings.rehearse]
    alone = watched(script)
    found: dict[str, Any] = {"alone": alone, "tools": {}, "problems": []}
    save(found)
    if alone["status"]:
        found["problems"].append(f"the script ended with {alone['status']} by itself")
        return found
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        raise NotAvailable("compute-sanitizer is not on PATH; the script ran by itself")
    for name in TOOLS:
        each = watched([tool, f"--tool={name}", f"--error-exitcode={FOUND}", *script])
        found["tools"][name] = each
        if each["status"]:
            found["problems"].append(f"{name} ended with {each['status']}")
        save(found)
    return found


def watched(command: list[str]) -> dict[str, Any]:
    """Run a command; return its exit status, errors that a summary counts, and the last lines."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout, flush=True)
    summary = re.search(r"(?:ERROR|RACECHECK) SUMMARY: (\d+)", done.stdout)
    lines = done.stdout.splitlines()[-5:]
    return {
        "status": done.returncode,
        "errors": int(summary[1]) if summary else None,
        "last_lines": lines,
    }
