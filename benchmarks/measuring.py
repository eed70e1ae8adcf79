"""Pin the process to one thread and write records, for all benchmarks.

Import it first, before any library starts its threads.
"""

import json
import os
import platform
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["pin", "write"]

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"


def pin() -> None:
    """Pin the process to one core, where the system supports it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def write(path: Path, libraries: tuple[ModuleType, ...], **found: Any) -> None:
    """Write results as JSON, with the machine and the versions of ``libraries``."""
    record = {
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "versions": {library.__name__: library.__version__ for library in libraries},
        **found,
    }
    path.write_text(json.dumps(record, indent=2) + "\n")
