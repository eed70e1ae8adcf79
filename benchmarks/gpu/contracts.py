"""Stage: no call waits for the device, or reads from it, that does not say so.

What is copied to the device is counted too, and is no failure, since it does not wait. A number is
read first, as a control: what counts must see that.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

import portable_rnn as prnn

from .contenders import names_of_executors
from .counting import counter
from .settings import NotAvailable, Save, Settings

__all__ = ["operations", "run"]

WAITS = ("d2h", "sync", "query")
FEW, MANY = 4, 12  # steps: their difference is of steps alone


def run(settings: Settings, save: Save) -> dict[str, Any]:
    """Return a row for each cell, executor and operation: counts, and kernels of a step."""
    cp = import_module("cupy")
    by, count = counter()
    x = cp.ones(3)
    seen = count(lambda: (float(x.sum()), cp.asarray(np.ones(3)), cp.cuda.Device().synchronize()))
    if missing := [kind for kind in ("kernel", "h2d", "d2h", "sync") if not seen[kind]]:
        raise NotAvailable(f"{by} does not see {', '.join(missing)} of CuPy")
    found: dict[str, Any] = {"counted_by": by, "control": dict(seen), "rows": [], "problems": []}
    for cell in settings.cells:
        for executor in names_of_executors():
            rows, reason = counted(cp, cell, executor, count)
            if reason:
                found.setdefault("absent", {})[f"{cell}, {executor}"] = reason
            found["rows"] += rows
            save(found)
    for row in found["rows"]:
        waits = {kind: row["counts"][kind] for kind in WAITS if row["counts"].get(kind)}
        if waits:
            where = f"{row['operation']} of {row['cell']}, {row['executor']}"
            found["problems"].append(f"{where}: expected no wait, got {waits}")
    return found


def counted(
    cp: Any, cell: str, executor: str, count: Callable[..., Any]
) -> tuple[list[dict[str, Any]], str]:
    """Return rows of all operations of a cell and an executor, or why it does not run them."""
    rows = []
    try:
        with prnn.executors.use(executor):
            short, long = (operations(cp, cell, steps) for steps in (FEW, MANY))
            for name in short:
                for call in (short[name], long[name]):
                    call()  # kernels are compiled
                few, many = count(short[name]), count(long[name])
                per_step = (many["kernel"] - few["kernel"]) / (MANY - FEW)
                rows.append({"cell": cell, "executor": executor, "operation": name})
                rows[-1] |= {"T": MANY, "counts": dict(many), "kernels_per_step": per_step}
    except ValueError as error:
        if not str(error).startswith("executor: "):
            raise
        return rows, str(error).removeprefix("executor: ")
    return rows, ""


def operations(cp: Any, cell: str, steps: int) -> dict[str, Callable[[], Any]]:
    """Return what must not wait, on small arrays of the device."""
    model, batch = prnn.RNN(5, 8, output_size=4, cell=cell), 6
    params = {name: cp.asarray(array) for name, array in model.init(seed=0).items()}
    rng = np.random.default_rng(0)
    x = cp.asarray(rng.standard_normal((steps, batch, 5)).astype("float32"))
    labels = cp.asarray(rng.integers(0, 4, (steps, batch)))
    mask = cp.asarray(rng.random((steps, batch)) < 0.6)
    result = prnn.bptt(model, params, x, labels)
    after, state = prnn.optimizers.adam(params, result.grads)
    d_y = cp.ones((steps, batch, 4), dtype=cp.float32)

    def passes(**options: Any) -> None:
        fwd = prnn.forward(model, params, x, **options)
        prnn.backward(model, params, fwd.tape, d_y)

    def step() -> None:
        grads = prnn.bptt(model, after, x, labels).grads
        grads, _ = prnn.optimizers.clip_by_global_norm(grads, max_norm=1.0)
        prnn.optimizers.adam(after, grads, state, lr=1e-3)

    return {
        "forward and backward": passes,
        "forward and backward, mask on the device": lambda: passes(mask=mask),
        "bptt, clipping and adam": step,
        "predict": lambda: prnn.predict(model, params, x),
        "gradients, checkpoint_every=3": lambda: passes(checkpoint_every=3),
    }
