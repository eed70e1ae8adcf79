"""Time of a training step in onnxruntime, from an exported file, and of the same step here.

Forward, loss, backward through 256 steps, clipping and Adam, in float32 on one pinned thread: the
file in onnxruntime, and NumPy's arrays with the time loop in Python and compiled. All run
alternately, round by round; reported is the median over rounds of the ratio of two times of the
same round. An unrolled graph of so many steps takes minutes to make.

    python benchmarks/onnx_training_time.py [--rounds N] [--json FILE]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measuring  # before any library starts its threads
import numpy as np
import onnxruntime
from rich.console import Console
from rich.progress import track
from rich.table import Table

import portable_rnn as prnn
from portable_rnn import executors, interop

STEPS, SIZES = 256, [(8, 32), (16, 128), (32, 256)]
WAYS = ("onnxruntime", "eager", "compiled")


def steps_of(cell: str, batch: int, hidden: int, folder: str) -> dict[str, Callable[[], float]]:
    """Return calls that take one more step each, and return its loss."""
    model = prnn.RNN(16, hidden, 8, cell=cell)
    params, rate = model.init(seed=0), np.asarray(0.001, np.float32)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(STEPS, batch, 16)).astype(np.float32)
    labels = rng.integers(0, 8, (STEPS, batch))
    path = f"{folder}/step.onnx"
    values = interop.export_training_step(path, model, params, max_norm=1.0)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    kept: dict[str, Any] = {
        "onnxruntime": values,
        "eager": (params, None),
        "compiled": (params, None),
    }

    def by_file() -> float:
        given = {"x": x, "targets": labels, "lr": rate} | kept["onnxruntime"]
        found = dict(zip(names, session.run(None, given), strict=True))
        loss = float(found.pop("loss"))
        kept["onnxruntime"] = {name.removeprefix("next."): a for name, a in found.items()}
        return loss

    def here(executor: str) -> float:
        params, state = kept[executor]
        with executors.use(executor):
            found = prnn.bptt(model, params, x, labels, grad_x=False)
        grads, _ = prnn.optimizers.clip_by_global_norm(found.grads, 1.0)
        kept[executor] = prnn.optimizers.adam(params, grads, state, lr=0.001)
        return float(found.loss)

    return {
        "onnxruntime": by_file,
        "eager": lambda: here("eager"),
        "compiled": lambda: here("compiled"),
    }


def measure(cell: str, batch: int, hidden: int, rounds: int) -> dict[str, Any]:
    """Compare the losses of a few steps, then the times."""
    with tempfile.TemporaryDirectory() as folder:
        steps = steps_of(cell, batch, hidden, folder)
        for _ in range(3):
            losses = [step() for step in steps.values()]
            np.testing.assert_allclose(losses, losses[0], rtol=1e-5)
        times: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(rounds):
            for name, step in steps.items():
                start = time.process_time()
                step()
                times[name].append(time.process_time() - start)
    of_file = times["onnxruntime"]
    row = {"cell": cell, "batch": batch, "hidden": hidden}
    for name in WAYS[1:]:
        pairs = zip(of_file, times[name], strict=True)
        row[f"onnxruntime / {name}"] = statistics.median(a / b for a, b in pairs)
    return row


def main() -> None:
    """Measure, print a table, and write it as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    measuring.pin()
    cases = [(cell, *size) for cell in ("elman", "gru", "lstm") for size in SIZES]
    rows = [
        measure(*case, options.rounds)
        for case in track(cases, description="measuring", transient=True)
    ]
    table = Table(title="one thread, float32", title_justify="left")
    for column in rows[0]:
        table.add_column(column, justify="left" if column == "cell" else "right")
    for row in rows:
        shown = row.values()
        table.add_row(*(f"{one:.2f}" if isinstance(one, float) else str(one) for one in shown))
    Console().print(table)
    if options.json:
        measuring.write(options.json, (np, onnxruntime, prnn), rounds=options.rounds, rows=rows)


if __name__ == "__main__":
    main()
