"""Gradients of thinc's LSTM, against torch at float64 and against its own forward pass.

    python -m conformance.peers.thinc_lstm [--json FILE]

Two comparisons, so that no conclusion rests on one of them:

1. *Against torch.* The suite's own LSTM problems, the weights laid out for thinc. Where the
   outputs agree to rounding the layout is right; then the gradients are compared. The float32
   results of torch.nn.LSTM and portable_rnn go through the same code.
2. *Against thinc itself* (`thinc_differences`). No weights are converted there.

Needs thinc and torch. thinc is not among this project's dependencies.
"""

import argparse
import datetime
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from ..problems import draw
from ..subject import largest
from ..tolerances import error_in_eps
from .thinc_differences import CASES, build, differences, facts, pull

__all__ = ["against_torch", "suite_problems"]

PATHS = ("NumpyOps", "Ops")  # thinc's default on a CPU, and the generic one
FLAT = ("weight_ih_l0", "bias_ih_l0", "weight_hh_l0", "bias_hh_l0")  # thinc's one vector
ORDER = [1, 0, 3, 2]  # between thinc's gates f, i, o, c and torch's i, f, g, o, either way


def suite_problems():
    """Return the suite's LSTM problems that thinc can be given.

    Its layer takes one initial state for all rows, gives no gradient of it, and takes no
    cotangent of the final state: left are zero initial states and cotangents of the outputs.
    """
    drawn = [draw("lstm", seed) for seed in range(200)]
    return [p for p in drawn if p.zero_state and p.cotangents == "outputs"]


def against_torch(problems):
    """Return {contender: {array: [(eps, relative error, max|got|) of every problem]}}."""
    from ..torch_oracle import reference
    from .contenders import ours, torch_nn

    found = {f"thinc, {path}": {} for path in PATHS} | {"torch.nn.LSTM": {}, "portable_rnn": {}}
    for problem in problems:
        host, truth = problem.arrays("float32"), reference(problem, "float32")
        zeros = tuple(np.zeros((1, problem.batch, problem.hidden), "float32") for _ in range(2))
        whole = host._replace(state=zeros, d_state=zeros)
        results = {f"thinc, {path}": _thinc(path, problem, host) for path in PATHS}
        results |= {"torch.nn.LSTM": torch_nn(problem, whole), "portable_rnn": ours(problem, whole)}
        for name, arrays in results.items():
            for array, got in arrays.items():
                if array.startswith("d_state"):
                    continue  # thinc has none
                inputs = host.params.values() if array == "outputs" else [host.d_outputs]
                eps = error_in_eps(got, truth[array], scale=largest(inputs))
                size = float(np.max(np.abs(truth[array])))
                far = float(np.max(np.abs(got - truth[array])))
                # Of one step from a zero state the gradient by weight_hh is zero.
                relative = far / size if size else None
                found[name].setdefault(array, []).append((eps, relative, largest([got])))
    return found


def _thinc(path, problem, host):
    """Return outputs and gradients by the names of `conformance.subject.results`."""
    model, lstm = build(path, problem.inputs, problem.hidden)
    flat = np.concatenate([_gates(host.params[name]).ravel() for name in FLAT])
    assert flat.shape == lstm.get_param("LSTM").shape
    lstm.set_param("LSTM", flat)
    outputs, d_x = pull(model, list(host.x.swapaxes(0, 1)), list(host.d_outputs.swapaxes(0, 1)))
    named = {"outputs": np.stack(outputs, axis=1), "d_x": np.stack(d_x, axis=1)}
    ends = np.cumsum([host.params[name].size for name in FLAT])[:-1]
    for name, part in zip(FLAT, np.split(lstm.get_grad("LSTM"), ends), strict=True):
        named[f"d_params[{name}]"] = _gates(part.reshape(host.params[name].shape))
    return named


def _gates(array):
    return array.reshape(4, -1, *array.shape[1:])[ORDER].reshape(array.shape)


def main():
    """Measure, print two tables, and write them as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    try:
        versions = {name: version(name) for name in ("thinc", "torch", "numpy", "rich")}
    except PackageNotFoundError as missing:
        parser.exit(2, f"not run: {missing.name} is not installed. Try: pip install thinc torch\n")

    from rich.console import Console
    from rich.progress import track

    console = Console()
    problems = suite_problems()
    by_torch = {
        name: {array: _summary(measured) for array, measured in arrays.items()}
        for name, arrays in against_torch(track(problems, "against torch")).items()
    }
    contenders = ("thinc, NumpyOps", "thinc, Ops", "thinc, PyTorchLSTM")
    by_differences = [
        {"contender": name, "case": case} | differences(name, case)
        for case in track(CASES, "against its own forward pass")
        for name in contenders
    ]
    record = {
        "date": datetime.date.today().isoformat(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": versions,
        "suite_problems": len(problems),
        "against_torch": by_torch,
        "against_own_forward": by_differences,
        "facts": {path: facts(path) for path in PATHS},
    }
    _print(console, record)
    if options.json:
        options.json.write_text(json.dumps(record, indent=2) + "\n")


def _summary(measured):
    eps, relative, returned = zip(*measured, strict=True)
    spread = {"min": np.min, "median": np.median, "max": np.max}
    return {
        "relative": {
            n: float(f([r for r in relative if r is not None])) for n, f in spread.items()
        },
        "eps": {n: float(f(eps)) for n, f in spread.items()},
        "largest_returned": float(max(returned)),
    }


def _print(console, record):
    from rich.markup import escape
    from rich.table import Table

    count = record["suite_problems"]
    table = Table(
        title=f"1. against torch at float64, {count} of the suite's LSTM problems",
        caption="relative: max|got - ref| / max|ref| · minimum, median, maximum over the problems",
    )
    for column in ("", "array", "relative", "eps", "max|got|"):
        table.add_column(column, no_wrap=True)
    for name, arrays in record["against_torch"].items():
        for array, errors in arrays.items():
            cells = (
                "  ".join(f"{errors[kind][s]:.2g}" for s in ("min", "median", "max"))
                for kind in ("relative", "eps")
            )
            table.add_row(name, escape(array), *cells, f"{errors['largest_returned']:.2g}")
        table.add_section()
    console.print(table)

    arrays = ("x", "W_ih", "b_ih", "W_hh", "b_hh")
    table = Table(
        title="2. against central differences of its own forward pass",
        caption="max|got - ref| / max|ref| · of a zero reference: '-' if zero came back, else inf",
    )
    for column in ("", "lengths", "I, H", *arrays):
        table.add_column(column, justify="left" if not column else "right")
    for row in record["against_own_forward"]:
        lengths, inputs, hidden = row["case"]
        errors = ("-" if row[a] is None else f"{row[a]:.2g}" for a in arrays)
        table.add_row(row["contender"], str(lengths), f"{inputs}, {hidden}", *errors)
        if row["contender"].endswith("PyTorchLSTM"):
            table.add_section()
    console.print(table)
    for path, found in record["facts"].items():
        for what, value in found.items():
            console.print(f"{path}: {what}: {value}", highlight=False)
    console.print(f"{record['versions']}, Python {record['python']}, {record['date']}")


if __name__ == "__main__":
    main()
