"""Time small calls, where most of the cost is overhead around the arithmetic.

Each call is compared with the same arithmetic in a few lines of bare NumPy. Both run alternately,
round by round, on one pinned thread in float32. Reported are medians over rounds: microseconds of
wall-clock and of processor time, and the ratio of the two processor times of a round. The last
line counts the Python functions of checks, layout and namespaces that one `bptt` calls.

    python benchmarks/call_time.py [--rounds N] [--json FILE]
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measuring  # before any library starts its threads
import numpy as np

import portable_rnn as prnn
from portable_rnn.losses import mean_squared_error

Run = Callable[[], Any]
AROUND = ("_arrays", "_calls", "array_api_compat")  # checks, layout and namespaces


def bptt_of_a_step(hidden: int = 8) -> tuple[Run, Run]:
    """Return `bptt` over one step of an Elman network, and the same by hand."""
    model = prnn.RNN(hidden, hidden)
    params = model.init(seed=0)
    x, y = np.random.default_rng(0).standard_normal((2, 1, 1, hidden), dtype=np.float32)
    u, w, b, c = params.values()

    def bare() -> Any:
        h0 = np.zeros((1, hidden), np.float32)
        h = np.tanh(x[0] @ u.T + b + h0 @ w.T + c)
        error = h - y[0]
        loss, d_a = np.mean(error * error), 2 / hidden * error * (1 - h * h)
        d_b = d_a.sum(axis=0)
        return loss, d_a.T @ x[0], d_a.T @ h0, d_b, d_b.copy(), d_a @ u, d_a @ w

    return lambda: prnn.bptt(model, params, x, y, loss=mean_squared_error), bare


def step_of_a_stream(hidden: int = 128) -> tuple[Run, Run]:
    """Return a step of a stream through a GRU, and the same by hand."""
    model = prnn.RNN(hidden, hidden, cell="gru")
    params = model.init(seed=0)
    x = np.random.default_rng(0).standard_normal((1, hidden), dtype=np.float32)
    stream = prnn.stream(model, params)
    u, w, b, c = params.values()
    state = np.zeros((1, hidden), np.float32)

    def bare() -> Any:
        nonlocal state
        ax, ah = x @ u.T + b, state @ w.T + c
        rz = 0.5 * np.tanh(0.5 * (ax[:, : 2 * hidden] + ah[:, : 2 * hidden])) + 0.5
        r, z = rz[:, :hidden], rz[:, hidden:]
        n = np.tanh(ax[:, 2 * hidden :] + r * ah[:, 2 * hidden :])
        state = n + z * (state - n)
        return state

    return lambda: stream.step(x), bare


def functions_around() -> int:
    """Count the functions around the arithmetic of one `bptt`: a GRU, 7 steps of 2 sequences."""
    model = prnn.RNN(4, 5, 3, cell="gru")
    params, x = model.init(seed=0), np.ones((7, 2, 4), np.float32)
    y, count = np.ones((7, 2, 3), np.float32), 0

    def loss(outputs: Any, targets: Any) -> tuple[float, Any]:
        return 0.0, outputs - targets

    def seen(frame: Any, event: str, _: Any) -> None:
        nonlocal count
        count += event == "call" and any(f"/{room}/" in frame.f_code.co_filename for room in AROUND)

    prnn.bptt(model, params, x, y, loss=loss)
    sys.setprofile(seen)
    prnn.bptt(model, params, x, y, loss=loss)
    sys.setprofile(None)
    return count


def measure(runs: tuple[Run, Run], rounds: int, repeats: int = 200) -> dict[str, float]:
    """Time both alternately, once per round; return medians, times in microseconds."""
    found: list[list[float]] = []
    for run in runs:
        run()
    for _ in range(rounds):
        times = []
        for run in runs:
            clock, spent = time.perf_counter(), time.process_time()
            for _ in range(repeats):
                run()
            times += [time.perf_counter() - clock, time.process_time() - spent]
        found.append([t / repeats * 1e6 for t in times] + [times[1] / times[3]])
    names = ("clock", "processor", "bare clock", "bare processor", "ratio")
    return dict(zip(names, map(statistics.median, zip(*found, strict=True)), strict=True))


def main() -> None:
    """Measure, print a line for each call, and write them as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    measuring.pin()

    cases = {
        "bptt: Elman, T=1, B=1, H=8": bptt_of_a_step(),
        "stream.step: GRU, B=1, H=128": step_of_a_stream(),
    }
    rows = []
    for name, runs in cases.items():
        found = measure(runs, options.rounds)
        rows.append({"call": name} | found)
        print(
            f"{name:30} {found['clock']:6.1f} us ({found['processor']:6.1f} of processor time)   "
            f"bare NumPy {found['bare clock']:5.1f} ({found['bare processor']:5.1f})   "
            f"ratio {found['ratio']:.2f}"
        )
    functions = functions_around()
    print(f"functions of checks, layout and namespaces in one bptt of a GRU: {functions}")
    if options.json:
        measuring.write(
            options.json, (np, prnn), rounds=options.rounds, rows=rows, functions=functions
        )


if __name__ == "__main__":
    main()
