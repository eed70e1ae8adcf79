"""Run stages, each in a process of its own, and put what they found together."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance.report.environment import environment

__all__ = ["SCHEMA", "STAGES", "Stage", "record", "run_stage"]

SCHEMA = "portable-rnn-gpu/1"
ROOT = Path(__file__).parent.parent.parent
LIBRARIES = ("cupy", "torch", "jax", "jaxlib", "numpy", "llvmlite")


@dataclass(frozen=True)
class Stage:
    """One stage: its module has ``run(settings, save)``, which returns what is found.

    Attributes
    ----------
    name, module : str
    minutes : float
        After which it is ended.
    """

    name: str
    module: str
    minutes: float = 30.0


STAGES = tuple(
    Stage(name, f"benchmarks.gpu.{name}", minutes)
    for name, minutes in (
        ("device", 5.0),
        ("suite", 90.0),
        ("agreement", 20.0),
        ("contracts", 10.0),
        ("micro", 10.0),
        ("times", 90.0),
        ("sanitizer", 60.0),
    )
)


def record(stages: Iterable[Stage], logs: Path, *, rehearse: bool) -> dict[str, Any]:
    """Run all stages, and return the record; without a device, only the first.

    Parameters
    ----------
    stages : iterable of Stage
        The first is asked whether there is a device.
    logs : Path
        Folder for what each stage prints.
    rehearse : bool
    """
    found: dict[str, dict[str, Any]] = {}
    for stage in stages:
        print(f"{stage.name} ...", end=" ", flush=True)
        found[stage.name] = run_stage(stage, logs / f"{stage.name}.txt", rehearse=rehearse)
        print(found[stage.name]["status"], found[stage.name]["reason"], flush=True)
        if len(found) == 1 and found[stage.name]["status"] == "not available":
            break
    emulated = rehearse or any(stage.pop("emulated") for stage in [*found.values()])
    for stage_found in found.values():
        stage_found.pop("emulated", None)
    return {
        "schema": SCHEMA,
        "kind": "rehearsal" if emulated else "record",
        "emulated": emulated,
        **environment(LIBRARIES),
        "stages": found,
    }


def run_stage(stage: Stage, log: Path, *, rehearse: bool) -> dict[str, Any]:
    """Run a stage; return its status, the reason, seconds, what was found, and whether emulated."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, log.open("w", encoding="utf-8") as printed:
        to = Path(folder) / "found.json"
        command = [sys.executable, "-m", "benchmarks.gpu.stage", stage.module, f"--to={to}"]
        process = subprocess.Popen(
            [*command, *["--rehearse"] * rehearse],
            cwd=ROOT,
            env=_environment(rehearse),
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        ended = ""
        try:
            status = process.wait(60 * stage.minutes)
        except subprocess.TimeoutExpired:
            status, ended = _end(process), f"ended after {stage.minutes:g} minutes"
        except BaseException:  # an interrupt
            _end(process)
            raise
        if status and not ended:
            ended = f"its process ended with {status}"
        told = {"status": "failed", "reason": ended, "found": {}, "emulated": rehearse}
        if to.exists():
            told |= json.loads(to.read_text(encoding="utf-8"))
        if ended:  # what it wrote before is kept
            told |= {"status": "failed", "reason": f"{ended}; see {log.name}"}
    told["seconds"] = round(time.perf_counter() - started, 1)
    return told


def _end(process: subprocess.Popen[bytes]) -> int:
    """End a process with all that it started, such as the workers of pytest."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    return process.wait()


def _environment(rehearse: bool) -> dict[str, str]:
    """Return the variables of a stage's process."""
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(_paths())}
    here["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # it would take three quarters of the memory
    if rehearse:
        here["JAX_PLATFORMS"] = "cpu"
        flags = "--xla_backend_optimization_level=0"
        here["XLA_FLAGS"] = f"{here.get('XLA_FLAGS', '')} {flags}".strip()
    return here


def _paths() -> list[str]:
    given = os.environ.get("PYTHONPATH", "")
    return [str(ROOT), *filter(None, given.split(os.pathsep))]
