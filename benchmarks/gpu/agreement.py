"""Stage: what the executors compute, compared with float64, with each other, and run twice."""

from importlib import import_module
from itertools import product
from typing import Any

import numpy as np
from conformance.tolerances import K, error_in_eps

from portable_rnn.cells import CELLS

from .contenders import Problem, draw, names_of_executors, on_cupy, passes, refusal
from .settings import Save, Settings

__all__ = ["compare", "run"]

DTYPES = ("float32", "float64")


def run(settings: Settings, save: Save) -> dict[str, Any]:
    """Return a row for each cell, size and dtype: errors in eps of all that is computed."""
    rows: list[dict[str, Any]] = []
    found = {"executors": names_of_executors(), "allowed_eps": K, "rows": rows, "problems": []}
    cells = settings.cells if settings.rehearse else tuple(CELLS)
    for cell, (steps, batch, hidden), dtype in product(cells, settings.agreement, DTYPES):
        p = draw(cell, batch, hidden, hidden, steps, dtype)
        rows.append({"cell": cell, "T": steps, "B": batch, "H": hidden, "dtype": dtype})
        rows[-1] |= compare(p, dtype)
        where = f"{cell}, {steps}, {batch}, {hidden}, {dtype}"
        for name, error in rows[-1]["error_eps"].items():
            if not error <= K:
                found["problems"].append(f"{where}: {name} is off by {error:.3g} eps")
        for name, same in rows[-1]["same_bits"].items():
            if not same:
                found["problems"].append(f"{where}: {name} has other bits in its second run")
        save(found)
    return found


def compare(p: Problem, dtype: str) -> dict[str, Any]:
    """Return how far each executor is from float64 and from the eager one, in eps of ``dtype``.

    Float64 is NumPy's, by the loop in Python: of the same inputs, which are rounded already.
    """
    cp = import_module("cupy")
    wide = {name: array.astype("float64") for name, array in p.params.items()}
    state = tuple(array.astype("float64") for array in p.state)
    exact = Problem(p.model, wide, p.x.astype("float64"), state, p.d_y.astype("float64"))
    reference, scale = passes(exact, "eager")(), float(np.max(np.abs(p.d_y)))
    results, absent, same = {}, {}, {}
    for name in names_of_executors():
        if reason := refusal(p, name):
            absent[name] = reason
            continue
        twice = passes(on_cupy(p, dtype), name)
        results[name], again = ([cp.asnumpy(array) for array in twice()] for _ in range(2))
        same[name] = all(
            a.tobytes() == b.tobytes() for a, b in zip(results[name], again, strict=True)
        )
    return {
        "absent": absent,
        "error_eps": {name: worst(got, reference, scale) for name, got in results.items()},
        "from_eager_eps": {
            name: worst(got, [array.astype("float64") for array in results["eager"]], scale)
            for name, got in results.items()
        },
        "same_bits": same,
    }


def worst(got: list[Any], reference: list[Any], scale: float) -> float:
    """Return the largest error in eps."""
    return max(error_in_eps(a, b, scale=scale) for a, b in zip(got, reference, strict=True))
