"""Float32 gradients of portable_rnn, torch.nn and jax.grad, against the float64 truth.

    python -m conformance.peers.accuracy [--problems 50] [--json FILE]

The three get the same float32 numbers in the same process. The truth is torch at float64 from
those numbers; one problem of every cell is first checked against the complex step as well. The
error of a problem is the worst over all its gradients (parameters, x, initial state), in eps, by
the suite's measure (`conformance.tolerances.error_in_eps`).
"""

import argparse
import datetime
import itertools
import json
import os
import platform
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np

import portable_rnn as prnn

from ..complex_step import directional
from ..problems import TORCH_CELLS, Problem
from ..subject import largest, leaves
from ..tolerances import assert_close, error_in_eps
from ..torch_oracle import reference
from .contenders import jax_grad, ours, torch_nn

__all__ = ["CONTENDERS", "case", "compare", "cross_check", "problems", "summary"]

CONTENDERS = {"portable_rnn": ours, "torch.nn": torch_nn, "jax.grad": jax_grad}
STEPS = (64, 512, 2048)
SHAPES = ((1, 8, 16), (2, 16, 8), (4, 16, 32), (8, 32, 64))  # B, I, H; few: JAX compiles each


def problems(cell, steps, count):
    """Draw problems, cycling through the shapes, with a state and all cotangents."""
    return [
        Problem(cell, 10_000 + seed, steps, *SHAPES[seed % len(SHAPES)], None, "both", False)
        for seed in range(count)
    ]


def compare(problem, contenders=CONTENDERS):
    """Return the errors in eps of one problem: {contender: {array: error}}."""
    host = problem.arrays("float32")
    truth = reference.__wrapped__(problem, "float32")  # uncached: long problems are large
    scale = _cotangents(host)
    errors = {}
    for name, run in contenders.items():
        found = run(problem, host)
        assert all(array.dtype == np.float32 for array in found.values()), name
        assert set(found) == {array for array in truth if array.startswith("d_")}, name
        errors[name] = {
            array: error_in_eps(got, truth[array], scale=scale) for array, got in found.items()
        }
    return errors


def cross_check(cell):
    """Check the truth against another oracle: the complex step through the forward pass.

    Every gradient is compared along one random direction. Returns the worst error in eps of
    float64.
    """
    (problem,) = problems(cell, STEPS[0], 1)
    host, truth = problem.arrays("float32"), reference(problem, "float32")
    state = host.state if isinstance(host.state, tuple) else (host.state,)
    d_state = host.d_state if isinstance(host.d_state, tuple) else (host.d_state,)
    names = [f"d_params[{name}]" for name in host.params]
    names += ["d_x", *(f"d_state[{i}]" for i in range(len(state)))]
    arrays = [a.astype(np.float64) for a in (*host.params.values(), host.x, *state)]

    def pulled(*arrays):
        params = dict(zip(host.params, arrays, strict=False))
        x, *state = arrays[len(params) :]
        fwd = prnn.forward(problem.model, params, x, tuple(state))
        after = fwd.state if isinstance(fwd.state, tuple) else (fwd.state,)
        value = np.sum(fwd.outputs * host.d_outputs)
        return value + sum(np.sum(a * d) for a, d in zip(after, d_state, strict=True))

    rng, worst = np.random.default_rng(0), 0.0
    for index, name in enumerate(names):
        directions = [np.zeros_like(a) for a in arrays]
        directions[index] = rng.standard_normal(arrays[index].shape)
        got = directional(pulled, arrays, directions)
        want = np.sum(truth[name] * directions[index])
        scale = float(np.sum(np.abs(truth[name] * directions[index])))
        worst = max(worst, assert_close(got, want, f"truth of {name}", scale=scale))
    return worst


def case(cell, steps, count, *, advance=lambda: None):
    """Measure ``count`` problems of one cell and length; return their `summary`.

    ``advance`` is called after every problem. JAX compiles once for every shape.
    """
    errors = []
    for problem in problems(cell, steps, count):
        errors.append(compare(problem))
        advance()
    return {"cell": cell, "T": steps} | summary(errors)


def summary(errors):
    """Sum up the problems of one case: worst array per problem, then over the problems."""
    worst = {name: np.array([max(e[name].values()) for e in errors]) for name in CONTENDERS}
    mine, *others = worst.values()
    better = np.minimum(*others)
    arrays = {
        name: {array: float(np.median([e[name][array] for e in errors])) for array in per_array}
        for name, per_array in errors[0].items()
    }
    return {
        name: {
            "median": float(np.median(e)),
            "p90": float(np.quantile(e, 0.9)),
            "max": float(np.max(e)),
            "median_by_array": arrays[name],
        }
        for name, e in worst.items()
    } | {
        "ratio": float(np.median(mine / better)),  # of one problem, ours by the better peer
        "median_by_better_median": float(np.median(mine) / min(map(np.median, others))),
    }


def _cotangents(host):
    return largest(a for name, a in leaves(host).items() if name.startswith("d_"))


def main():
    """Measure, print a table, and write it as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", type=int, default=50, help="of every cell and length")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.problems < 1:
        parser.error("--problems: expected at least 1")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")

    import torch
    from rich.console import Console
    from rich.progress import Progress

    torch.set_num_threads(1)
    console = Console()
    checked = {cell: cross_check(cell) for cell in TORCH_CELLS}
    rows = []
    with Progress(console=console) as progress:
        task = progress.add_task(
            "measuring", total=len(TORCH_CELLS) * len(STEPS) * options.problems
        )
        for cell, steps in itertools.product(TORCH_CELLS, STEPS):
            tick = partial(progress.advance, task)
            rows.append(case(cell, steps, options.problems, advance=tick))
    record = {
        "date": datetime.date.today().isoformat(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": {"portable_rnn": prnn.__version__}
        | {name: version(name) for name in ("numpy", "torch", "jax")},
        "problems": options.problems,
        "shapes_B_I_H": SHAPES,
        "truth_by_complex_step_in_eps_of_float64": checked,
        "rows": rows,
    }
    console.print(_table(rows, f"error in eps of float32, {options.problems} problems per row"))
    console.print(f"{record['versions']}, Python {record['python']}, {record['date']}")
    console.print(f"truth against the complex step: {max(checked.values()):.2g} eps of float64")
    if options.json:
        options.json.write_text(json.dumps(record, indent=2) + "\n")


def _table(rows, title):
    from rich.table import Table

    table = Table(title=title, caption="median, 90th percentile, maximum; ratio: ours / better")
    for column in ("cell", "T", *CONTENDERS, "ratio"):
        table.add_column(column, justify="left" if column == "cell" else "right")
    for row in rows:
        errors = ("{median:.2f} {p90:.2f} {max:.2f}".format(**row[name]) for name in CONTENDERS)
        style = None if row["ratio"] <= 1 else "yellow"
        table.add_row(row["cell"], str(row["T"]), *errors, f"{row['ratio']:.2f}", style=style)
    return table


if __name__ == "__main__":
    main()
