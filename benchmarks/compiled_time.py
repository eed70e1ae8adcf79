"""Time per step of a compiled layer, forward and backward, beside torch.nn and the eager engine.

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
from portable_rnn._engine.affine import affine_vjp_bias, affine_vjp_weight
from portable_rnn._engine.chunks import full_steps
from portable_rnn._executors.compiled import Layer, kernel
from portable_rnn._executors.llvm_target import host

STEPS = 128
SIZES = [(batch, hidden) for batch in (1, 16, 64) for hidden in (32, 64, 128, 256, 512)]
TORCH = {"elman": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
CHUNK = 3 * 2**18  # bytes of the projected input that are made and used at a time
ALLOWED = 1e-4  # of the largest entry: far below any mistake, far above rounding

Run = Callable[[], list[np.ndarray]]


def whole_products(x: np.ndarray, d_y: np.ndarray) -> np.ndarray:
    """Return the gradient of a weight by one product for a chunk of time."""
    return d_y.reshape(-1, d_y.shape[-1]).T @ x.reshape(-1, x.shape[-1])


def chunk_rows(size: int, sums: str) -> int:
    """Return how many rows of a size to take at a time: the engine's, or what fits the cache."""
    rows = full_steps(1)
    return rows if sums == "engine" else max(rows, CHUNK // (4 * size))


def compiled(p: dict[str, Any], *, sums: str) -> Run:
    """Return the compiled layer, chunk after chunk of time, and the products around it."""
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    w_ih, w_hh, b_ih, b_hh = (p["params"][name] for name in names)
    x, d_y, state = p["x"], p["d_y"], tuple(part[0] for part in p["state"])
    loops = kernel(p["model"].cell_object, "float32")
    steps, batch, _ = x.shape
    room = np.empty((chunk_rows(w_ih.shape[0], sums), w_ih.shape[0]), np.float32)
    size = max(1, room.shape[0] // batch)
    chunks = [slice(start, min(start + size, steps)) for start in range(0, steps, size)]
    weight = affine_vjp_weight if sums == "engine" else lambda xp, x, d_y: whole_products(x, d_y)

    def gradients(x: np.ndarray, h: np.ndarray, d: Any) -> list[np.ndarray]:
        b_ax = affine_vjp_bias(np, b_ih, d.d_ax)
        b_ah = b_ax if d.d_ah is d.d_ax else affine_vjp_bias(np, b_hh, d.d_ah)
        return [weight(np, x, d.d_ax), weight(np, h, d.d_ah), b_ax, b_ah]

    def run() -> list[np.ndarray]:
        y, now, records = np.empty(d_y.shape, np.float32), state, []
        layer = Layer(loops, w_hh, b_ih, b_hh)
        for chunk in chunks:
            flat = x[chunk].reshape(-1, x.shape[2])
            ax = np.matmul(flat, w_ih.T, out=room[: flat.shape[0]])
            part, now, record = layer.forward(ax.reshape(-1, batch, ax.shape[1]), now)
            y[chunk] = part
            records.append(record)
        d_x, d_now, found, d = np.empty_like(x), tuple(map(np.zeros_like, state)), [], None
        for chunk, record in zip(reversed(chunks), reversed(records), strict=True):
            d = layer.backward(record, d_y[chunk], d_now, into=d)
            part = gradients(x[chunk], record.hidden_before, d)
            if found:
                for total, more in zip(found, part, strict=True):
                    if more is not total:
                        total += more
            else:
                found = [part[0], part[1], part[2], part[3] + 0]
            flat = d.d_ax.reshape(-1, d.d_ax.shape[2])
            np.matmul(flat, w_ih, out=d_x[chunk].reshape(-1, d_x.shape[2]))
            d_now = d.d_state
        return [y, *found, d_x, *d_now]

    return run


def eager(p: dict[str, Any]) -> Run:
    """Return the library's own forward and backward."""
    state = tuple(p["state"]) if len(p["state"]) > 1 else p["state"][0]

    def run() -> list[np.ndarray]:
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
    names = ("compiled", "engine's sums", "eager", "torch.nn", "floor")
    ratios = [("torch.nn", "compiled"), ("eager", "compiled"), ("torch.nn", "engine's sums")]
    ratios += [("compiled", "floor")]
    for column in ("cell", "B, H", *(f"{n}\nµs/step" for n in names)):
        table.add_column(column, justify="right")
    for one, other in ratios:
        table.add_column(f"{one}\n/ {other}", justify="right")

    rows = []
    cases = [(cell, *size) for cell in options.cells for size in options.sizes]
    for cell, batch, hidden in track(cases, description="measuring", console=Console(stderr=True)):
        p = measuring.problem(cell, batch, hidden, STEPS)
        runs = {
            "compiled": compiled(p, sums="chunk"),
            "engine's sums": compiled(p, sums="engine"),
            "eager": eager(p),
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
