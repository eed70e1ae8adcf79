"""Time and memory of a training step under budgets, relative to the full tape, and as planned.

An LSTM of 256 units over 4096 steps of 16 sequences, forward and backward in float32. All plans run
alternately, round by round, on one pinned thread; reported is the median over rounds of the ratio
of two times of the same round. Peaks are measured in one more run, by tracemalloc, without outputs
and gradients.

    python benchmarks/memory_time.py [--rounds N] [--json FILE]
"""

import argparse
import statistics
import time
import tracemalloc
from pathlib import Path
from typing import Any

import measuring  # before any library starts its threads
import numpy as np

import portable_rnn as prnn

STEPS, BATCH, INPUTS, HIDDEN = 4096, 16, 16, 256


def plans(model: prnn.RNN) -> dict[str, prnn.memory.Plan]:
    """Return the full tape, one level of 64 steps, and budgets of 1/4, 1/16 and 1/64."""
    full = prnn.memory.plan(model, STEPS, BATCH)
    found = {"full tape": full}
    found["every 64 steps"] = prnn.memory.plan(model, STEPS, BATCH, checkpoint_every=64)
    for share in (4, 16, 64):
        budget = full.full_tape // share
        found[f"1/{share}"] = prnn.memory.plan(model, STEPS, BATCH, memory=budget)
    return found


def measure(model: prnn.RNN, chosen: dict[str, prnn.memory.Plan], rounds: int) -> list[Any]:
    """Run all plans alternately; return time and memory of each, measured and planned."""
    rng = np.random.default_rng(0)
    params = model.init(seed=0)
    x = rng.standard_normal((STEPS, BATCH, INPUTS), dtype=np.float32)
    d_y = rng.standard_normal((STEPS, BATCH, HIDDEN), dtype=np.float32)

    def run(plan: prnn.memory.Plan) -> tuple[Any, ...]:
        # The full tape is run without a plan, as users run it.
        memory = plan if plan.segments > 1 else None
        fwd = prnn.forward(model, params, x, memory=memory)
        grads = prnn.backward(model, params, fwd.tape, d_y)
        return fwd.outputs, grads.x, *grads.params.values()

    def peak(plan: prnn.memory.Plan) -> int:
        tracemalloc.start()
        results = run(plan)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found - sum(array.nbytes for array in results)

    times: dict[str, list[float]] = {name: [] for name in chosen}
    for _ in range(rounds + 1):  # the first to warm up
        for name, plan in chosen.items():
            started = time.perf_counter()
            run(plan)
            times[name].append(time.perf_counter() - started)
    whole = times["full tape"][1:]
    return [
        {
            "plan": name,
            "time": statistics.median(t / w for t, w in zip(times[name][1:], whole, strict=True)),
            "time planned": plan.time,
            "MiB": peak(plan) / 2**20,
            "MiB planned": plan.peak / 2**20,
        }
        for name, plan in chosen.items()
    ]


def main() -> None:
    """Measure, print a line for each plan, and write them as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    measuring.pin()

    model = prnn.RNN(INPUTS, HIDDEN, cell="lstm")
    rows = measure(model, plans(model), options.rounds)
    for row in rows:
        print(
            f"{row['plan']:15} time {row['time']:.2f} (planned {row['time planned']:.2f})   "
            f"peak {row['MiB']:6.1f} MiB (planned {row['MiB planned']:.1f})"
        )
    if options.json:
        measuring.write(
            options.json,
            (np, prnn),
            steps=STEPS,
            batch=BATCH,
            hidden=HIDDEN,
            rounds=options.rounds,
            rows=rows,
        )


if __name__ == "__main__":
    main()
