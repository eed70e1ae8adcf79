"""Time of forward plus backward on a ragged batch, relative to the same batch padded.

Lengths are uniform in 1 to T, unsorted. Both batches run alternately, round by round, on one pinned
thread in float32; reported is the median over rounds of the ratio of two times of the same round.
The share of valid steps is printed with it, as a lower bound.

    python benchmarks/ragged_time.py [--rounds N] [--cells gru lstm] [--sorted] [--json FILE]
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import measuring  # before any library starts its threads
import numpy as np

import portable_rnn as prnn

STEPS, BATCH, HIDDEN = 512, 64, 256
GOAL = 0.65


def measure(cell: str, lengths: Any, rounds: int) -> dict[str, Any]:
    """Time both batches alternately; return the medians in seconds, and of the ratio."""
    rng = np.random.default_rng(0)
    model = prnn.RNN(HIDDEN, HIDDEN, cell=cell)
    params = model.init(seed=0)
    x, d_y = (rng.standard_normal((STEPS, BATCH, HIDDEN), dtype=np.float32) for _ in range(2))

    def run(**options: Any) -> float:
        started = time.perf_counter()
        fwd = prnn.forward(model, params, x, **options)
        prnn.backward(model, params, fwd.tape, d_y)
        return time.perf_counter() - started

    run()
    run(lengths=lengths)
    padded, ragged = [], []
    for _ in range(rounds):
        padded.append(run())
        ragged.append(run(lengths=lengths))
    ratio = statistics.median(r / p for r, p in zip(ragged, padded, strict=True))
    return {
        "cell": cell,
        "padded": statistics.median(padded),
        "ragged": statistics.median(ragged),
        "ratio": ratio,
    }


def main() -> None:
    """Measure, print a line for each cell, and write them as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cells", nargs="+", default=["gru", "lstm"])
    parser.add_argument("--sorted", action="store_true", help="longest first")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    measuring.pin()

    lengths = np.random.default_rng(1).integers(1, STEPS + 1, BATCH)
    lengths = -np.sort(-lengths) if options.sorted else lengths
    share = float(lengths.sum() / (STEPS * BATCH))
    print(
        f"B={BATCH}, lengths uniform in 1..{STEPS}, H={HIDDEN}: {share:.3f} of the steps are valid"
    )
    rows = []
    for cell in options.cells:
        found = measure(cell, lengths, options.rounds)
        rows.append(found)
        print(
            f"{cell:6} padded {found['padded']:.2f} s   ragged {found['ragged']:.2f} s   "
            f"ratio {found['ratio']:.3f} (goal {GOAL})"
        )
    if options.json:
        measuring.write(
            options.json,
            (np, prnn),
            steps=STEPS,
            batch=BATCH,
            hidden=HIDDEN,
            rounds=options.rounds,
            share=share,
            rows=rows,
        )


if __name__ == "__main__":
    main()
