"""Time per step of forward plus backward, beside torch.nn and jax.grad of a lax.scan.

All in one process, on one pinned thread, float32, every contender doing the same work: from
x, the initial state, the weights and a cotangent for every output to the outputs and the
gradients of the weights, of x and of the initial state. Contenders are interleaved round by
round, and what is reported is the median over rounds of the ratio of two times of the same round.

    python benchmarks/step_time.py [--rounds N] [--json FILE]
"""

import os

import measuring  # before any library starts its threads

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ["JAX_PLATFORMS"] = "cpu"

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

import portable_rnn as prnn

STEPS = 128
SIZES = ((1, 64), (16, 128), (64, 256))
CELLS = ("elman", "gru", "lstm")
TORCH = {"elman": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}

Run = Callable[[], Any]


def ours(p: dict[str, Any], convert: Callable[[Any], Any]) -> Callable[..., Any]:
    """Return the library's forward and backward on arrays made by ``convert``."""
    model = p["model"]
    params = {name: convert(array) for name, array in p["params"].items()}
    x, d_y = convert(p["x"]), convert(p["d_y"])
    state = tuple(map(convert, p["state"]))
    state = state if len(state) > 1 else state[0]

    def run(params: Any = params, x: Any = x, state: Any = state, d_y: Any = d_y) -> Any:
        fwd = prnn.forward(model, params, x, state)
        return fwd.outputs, prnn.backward(model, params, fwd.tape, d_y)

    return run


def ours_jax(p: dict[str, Any]) -> Run:
    """Return the same, compiled by XLA."""
    run = jax.jit(ours(p, jnp.asarray))
    params = {name: jnp.asarray(array) for name, array in p["params"].items()}
    state = tuple(map(jnp.asarray, p["state"]))
    args = (
        params,
        jnp.asarray(p["x"]),
        state if len(state) > 1 else state[0],
        jnp.asarray(p["d_y"]),
    )
    return lambda: jax.block_until_ready(run(*args))


def torch_nn(p: dict[str, Any]) -> Run:
    """Return torch's own module and autograd."""
    model = p["model"]
    module = TORCH[model.cell](model.input_size, model.hidden_size)
    module.load_state_dict({k: torch.from_numpy(v) for k, v in p["params"].items()})
    x = torch.from_numpy(p["x"]).requires_grad_()
    state = [torch.from_numpy(s).requires_grad_() for s in p["state"]]
    d_y = torch.from_numpy(p["d_y"])
    wanted = [x, *state, *module.parameters()]

    def run() -> Any:
        y, _ = module(x, tuple(state) if len(state) > 1 else state[0])
        return y, torch.autograd.grad(y, wanted, d_y)

    return run


def jax_grad(p: dict[str, Any]) -> Run:
    """Return jax.grad of a lax.scan written as a JAX user would, input product hoisted."""
    cell = p["model"].cell

    def step(w: Any, state: Any, ax: Any) -> Any:
        h = state[0]
        ah = h @ w["weight_hh_l0"].T + w["bias_hh_l0"]
        if cell == "elman":
            new = (jnp.tanh(ax + ah),)
        elif cell == "gru":
            (x_r, x_z, x_n), (h_r, h_z, h_n) = jnp.split(ax, 3, -1), jnp.split(ah, 3, -1)
            r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
            n = jnp.tanh(x_n + r * h_n)
            new = ((1 - z) * n + z * h,)
        else:
            i, f, g, o = jnp.split(ax + ah, 4, -1)
            c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
            new = (jax.nn.sigmoid(o) * jnp.tanh(c), c)
        return new, new[0]

    def outputs(w: Any, x: Any, state: Any) -> Any:
        ax = x @ w["weight_ih_l0"].T + w["bias_ih_l0"]
        return jax.lax.scan(lambda s, a: step(w, s, a), state, ax)[1]

    @jax.jit
    def run(w: Any, x: Any, state: Any, d_y: Any) -> Any:
        y, vjp = jax.vjp(outputs, w, x, state)
        return y, vjp(d_y)

    args = jax.tree.map(
        jnp.asarray, (p["params"], p["x"], tuple(s[0] for s in p["state"]), p["d_y"])
    )
    return lambda: jax.block_until_ready(run(*args))


def measure(runs: dict[str, Run], rounds: int) -> dict[str, list[float]]:
    """Time every contender once a round, in turn; return microseconds per step."""
    repeats = {}
    for name, run in runs.items():
        run()
        started = time.perf_counter()
        run()
        once = time.perf_counter() - started
        repeats[name] = max(1, round(0.02 / once))
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            started = time.perf_counter()
            for _ in range(repeats[name]):
                run()
            spent = time.perf_counter() - started
            times[name].append(spent / repeats[name] / STEPS * 1e6)
    return times


def main() -> None:
    """Measure, print a table, and write it as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    measuring.pin()

    table = Table(title=f"forward + backward, float32, T={STEPS}, one thread")
    for column in ("cell", "B, H"):
        table.add_column(column)
    names = ("NumPy", "torch.nn", "jitted", "jax.grad")
    for column in (
        *(f"{n}\nµs/step" for n in names),
        "torch.nn\n/ NumPy",
        "jax.grad\n/ jitted",
    ):
        table.add_column(column, justify="right")

    rows = []
    cases = [(cell, *size) for cell in CELLS for size in SIZES]
    for cell, batch, hidden in track(cases, description="measuring"):
        p = measuring.problem(cell, batch, hidden, STEPS)
        runs = {
            "NumPy": ours(p, np.asarray),
            "torch.nn": torch_nn(p),
            "jitted": ours_jax(p),
            "jax.grad": jax_grad(p),
        }
        times = measure(runs, options.rounds)
        median = {name: statistics.median(values) for name, values in times.items()}
        ratio = {
            f"{peer} / {mine}": statistics.median(
                a / b for a, b in zip(times[peer], times[mine], strict=True)
            )
            for peer, mine in (("torch.nn", "NumPy"), ("jax.grad", "jitted"))
        }
        rows.append({"cell": cell, "B": batch, "H": hidden, "us_per_step": median} | ratio)
        table.add_row(
            cell,
            f"{batch}, {hidden}",
            *(f"{median[name]:.1f}" for name in names),
            *(f"{value:.2f}" for value in ratio.values()),
        )
    Console().print(table)
    if options.json:
        measuring.write(
            options.json, (np, torch, jax, prnn), steps=STEPS, rounds=options.rounds, rows=rows
        )


if __name__ == "__main__":
    main()
