"""One pinned thread, and one form of record, for every benchmark here.

To be imported first: before any library starts its threads.
"""

import json
import os
import platform
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["pin", "problem", "write"]

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"


def pin() -> None:
    """Stay on one core, where the system can be told so."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def problem(cell: str, batch: int, hidden: int, steps: int) -> dict[str, Any]:
    """Draw weights, inputs, a state and a cotangent, all float32 on the host."""
    import numpy as np

    import portable_rnn as prnn

    rng = np.random.default_rng(0)
    model = prnn.RNN(hidden, hidden, cell=cell)
    draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)  # noqa: E731
    return {
        "model": model,
        "params": model.init(seed=0),
        "x": draw(steps, batch, hidden),
        "state": [draw(1, batch, hidden) for _ in range(model.cell_object.states)],
        "d_y": draw(steps, batch, hidden),
    }


def write(path: Path, libraries: tuple[ModuleType, ...], **found: Any) -> None:
    """Write what was found as JSON, with the machine and the versions it was found on."""
    record = {
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "versions": {library.__name__: library.__version__ for library in libraries},
        **found,
    }
    path.write_text(json.dumps(record, indent=2) + "\n")
