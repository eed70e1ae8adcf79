"""Time per step, forward and backward: compiled, eager, and torch.nn.

All in one process, on one pinned thread, float32, every contender doing the same work: from x, the
initial state, the weights and a cotangent for every output to the outputs and the gradients of the
weights, of x and of the initial state. Before anything is timed, gradients are compared. Contenders
are interleaved round by round; times are those of the process, which other processes on the machine
disturb less; and what is reported is the median over rounds of the ratio of two times of the same
round. `floor` is the matrix products alone, by the same BLAS.

    python benchmarks/compiled_time.py [--rounds N] [--sizes B,H ...] [--cells NAME ...]
                                       [--json FILE]
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measuring  # before any library starts its threads
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

import portable_rnn as prnn
from portable_rnn._executors.llvm_target import host

STEPS = 128
SIZES = [(batch, hidden) for batch in (1, 16, 64) for hidden in (32, 64, 128, 256, 512)]
TORCH = {"elman": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
ALLOWED = 1e-4  # of the largest entry: far below any mistake, far above rounding

Run = Callable[[], list[np.ndarray]]


def ours(p: dict[str, Any], executor: str) -> Run:
    """Return the library's own forward and backward, served by an executor."""
    state = tuple(p["state"]) if len(p["state"]) > 1 else p["state"][0]

    def run() -> list[np.ndarray]:
        with prnn.executors.use(executor):
            fwd = prnn.forward(p["model"], p["params"], p["x"], state)
            grads = prnn.backward(p["model"], p["params"], fwd.tape, p["d_y"])
        d_state = grads.state if isinstance(grads.state, tuple) else (grads.state,)
        return [fwd.outputs, *grads.params.values(), grads.x, *(part[0] for part in d_state)]

    return run


def torch_nn(p: dict[str, Any]) -> Run:
    """Return torch's own module and autograd."""
    model = p["model"]
    module = TORCH[model.cell](model.input_size, model.hidden_size)
    module.load_state_dict({k: torch.from_numpy(v) for k, v in p["params"].items()})
    x = torch.from_numpy(p["x"]).requires_grad_()
    state = [torch.from_numpy(s).requires_grad_() for s in p["state"]]
    d_y, named = torch.from_numpy(p["d_y"]), dict(module.named_parameters())
    wanted = [*(named[name] for name in p["params"]), x, *state]

    def run() -> list[np.ndarray]:
        y, _ = module(x, tuple(state) if len(state) > 1 else state[0])
        found = [part.numpy() for part in torch.autograd.grad(y, wanted, d_y)]
        return [y.detach().numpy(), *found[: -len(state)], *(s[0] for s in found[-len(state) :])]

    return run


def floor(p: dict[str, Any]) -> Callable[[], None]:
    """Return the matrix products alone, into arrays that are there already."""
    w_ih, w_hh = p["params"]["weight_ih_l0"], p["params"]["weight_hh_l0"]
    steps, batch, hidden = p["x"].shape
    x, h, gates = p["x"].reshape(-1, hidden), p["d_y"], w_hh.shape[0]
    ax, ah = np.empty((steps * batch, gates), np.float32), np.empty((batch, gates), np.float32)
    d_a = np.random.default_rng(1).standard_normal((steps, batch, gates)).astype(np.float32)
    d_h, d_x, d_w = np.empty((batch, hidden), np.float32), np.empty_like(x), np.empty_like(w_hh)
    flat = d_a.reshape(-1, gates)

    def run() -> None:
        np.matmul(x, w_ih.T, out=ax)
        for t in range(steps):
            np.matmul(h[t], w_hh.T, out=ah)
        for t in range(steps):
            np.matmul(d_a[t], w_hh, out=d_h)
        np.matmul(flat.T, x, out=d_w)
        np.matmul(flat.T, h.reshape(-1, hidden), out=d_w)
        np.matmul(flat, w_ih, out=d_x)

    return run


def check(runs: dict[str, Any]) -> None:
    """Compare what the contenders compute."""
    found = {name: run() for name, run in runs.items() if name != "floor"}
    expected = found["torch.nn"]
    for name, results in found.items():
        for i, (got, want) in enumerate(zip(results, expected, strict=True)):
            error = np.abs(got - want).max() / np.abs(want).max()
            if not error < ALLOWED:
                raise AssertionError(f"{name}: result {i} is off by {error:.1e} of its largest")


def measure(runs: dict[str, Any], rounds: int) -> dict[str, list[float]]:
    """Time every contender once a round, in turn; return microseconds per step."""
    repeats = {}
    for name, run in runs.items():
        run()
        started = time.process_time()
        run()
        repeats[name] = max(1, round(0.02 / max(time.process_time() - started, 1e-6)))
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            started = time.process_time()
            for _ in range(repeats[name]):
                run()
            times[name].append((time.process_time() - started) / repeats[name] / STEPS * 1e6)
    return times


def pair(text: str) -> tuple[int, int]:
    """Return B and H."""
    batch, hidden = map(int, text.split(","))
    return batch, hidden


def main() -> None:
    """Measure, print a table, and write it as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sizes", type=pair, nargs="*", default=SIZES)
    parser.add_argument("--cells", nargs="*", default=list(TORCH))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    measuring.pin()

    target = host()
    processor = f"{target.cpu}, vectors of {target.bits} bits"
    table = Table(title=f"forward + backward, float32, T={STEPS}, one thread; {processor}")
    names = ("compiled", "eager", "torch.nn", "floor")
    ratios = [("torch.nn", "compiled"), ("eager", "compiled"), ("compiled", "floor")]
    for column in ("cell", "B, H", *(f"{n}\nµs/step" for n in names)):
        table.add_column(column, justify="right")
    for one, other in ratios:
        table.add_column(f"{one}\n/ {other}", justify="right")

    rows = []
    cases = [(cell, *size) for cell in options.cells for size in options.sizes]
    for cell, batch, hidden in track(cases, description="measuring", console=Console(stderr=True)):
        p = measuring.problem(cell, batch, hidden, STEPS)
        runs = {
            "compiled": ours(p, "compiled"),
            "eager": ours(p, "eager"),
            "torch.nn": torch_nn(p),
            "floor": floor(p),
        }
        check(runs)
        times = measure(runs, options.rounds)
        median = {name: statistics.median(values) for name, values in times.items()}
        ratio = {
            f"{one} / {other}": statistics.median(
                a / b for a, b in zip(times[one], times[other], strict=True)
            )
            for one, other in ratios
        }
        rows.append({"cell": cell, "B": batch, "H": hidden, "us_per_step": median} | ratio)
        table.add_row(
            cell,
            f"{batch}, {hidden}",
            *(f"{median[name]:.1f}" for name in names),
            *(f"{value:.2f}" for value in ratio.values()),
        )
    Console(width=140).print(table)
    if options.json:
        measuring.write(
            options.json,
            (np, torch, prnn),
            processor=processor,
            steps=STEPS,
            rounds=options.rounds,
            rows=rows,
        )


if __name__ == "__main__":
    main()
