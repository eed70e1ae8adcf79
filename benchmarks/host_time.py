"""Time the host's part of a step on CuPy's arrays: no GPU, and kernels that compute nothing.

CuPy runs on the emulated device of ``conformance/cuda_on_host``, which counts what is enqueued and
does none of it. What remains is the work of Python, CuPy and the emulated driver for each step; a
real driver takes some microseconds more for each operation. The executors run alternately, round
by round, on one pinned thread in float32, T=128, I=H=64; reported are medians of processor time.

    python benchmarks/host_time.py [--rounds N] [--json FILE]
"""

import argparse
import gc
import importlib
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import measuring  # before any library starts its threads
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from conformance import cuda_on_host

import portable_rnn as prnn

STEPS, SIZE = 128, 64
EXECUTORS = ("eager", "fused")


class Case:
    """Both passes of one layer."""

    def __init__(self, cell: str, batch: int) -> None:
        xp = importlib.import_module("cupy")
        self.model = prnn.RNN(SIZE, SIZE, cell=cell)
        self.params = self.model.init(seed=0, xp=xp)
        self.x = xp.zeros((STEPS, batch, SIZE), dtype=xp.float32)
        self.d = xp.zeros((STEPS, batch, SIZE), dtype=xp.float32)

    def run(self, executor: str) -> dict[str, float]:
        """Return microseconds of processor time of a step, and operations, of each pass."""
        with prnn.executors.use(executor):
            with cuda_on_host.Log() as forward:
                done, forward_time = timed(prnn.forward, self.model, self.params, self.x)
            with cuda_on_host.Log() as backward:
                _, backward_time = timed(
                    prnn.backward, self.model, self.params, done.tape, self.d, grad_x=True
                )
            done, forward_time = timed(prnn.forward, self.model, self.params, self.x)
            _, backward_time = timed(
                prnn.backward, self.model, self.params, done.tape, self.d, grad_x=True
            )
        return {
            "forward": forward_time / STEPS * 1e6,
            "backward": backward_time / STEPS * 1e6,
            "operations forward": forward.operations / STEPS,
            "operations backward": backward.operations / STEPS,
        }


def timed(function: Any, *args: Any, **options: Any) -> tuple[Any, float]:
    """Return what a function returns, and seconds of processor time."""
    gc.disable()
    start = time.process_time()
    found = function(*args, **options)
    took = time.process_time() - start
    gc.enable()
    return found, took


def main() -> None:
    """Measure, print a line for each case, and write them as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cuda_on_host.install()
    measuring.pin()
    rows = []
    with cuda_on_host.settings(dry=True):
        for cell in ("elman", "gru", "lstm"):
            for batch in (1, 64, 256):
                case, row = Case(cell, batch), {"cell": cell, "batch": batch}
                rounds = [{e: case.run(e) for e in EXECUTORS} for _ in range(options.rounds + 1)]
                for executor in EXECUTORS:
                    for name in rounds[0][executor]:
                        values = [one[executor][name] for one in rounds[1:]]
                        row[f"{executor} {name}"] = statistics.median(values)
                rows.append(row)
                print(
                    cell,
                    f"B={batch}:",
                    *(
                        f"{e} {row[f'{e} forward']:.0f} + {row[f'{e} backward']:.0f} us, "
                        f"{row[f'{e} operations forward']:.1f} + "
                        f"{row[f'{e} operations backward']:.1f} operations;"
                        for e in EXECUTORS
                    ),
                )
    if options.json:
        libraries = (np, importlib.import_module("cupy"), prnn)
        measuring.write(options.json, libraries, emulated=True, rounds=options.rounds, rows=rows)


if __name__ == "__main__":
    main()
