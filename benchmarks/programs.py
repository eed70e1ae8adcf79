"""Results and time of the programs of the front page, compared with the same in torch and Keras.

Each program is the block of code that `docs/index.md` shows, run from its model on: what comes
before makes the data, which the others are given. In torch it has the same initial values,
batches and steps; in Keras, if that is installed (with its torch backend), its own. All run
alternately, round by round, on one pinned thread in float32; reported are medians of processor
time, and of the ratio of two times of the same round.

    python benchmarks/programs.py [--rounds N] [--only NAME] [--json FILE]
"""

import argparse
import contextlib
import importlib.util
import io
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measuring  # before any library starts its threads
import numpy as np
import programs_in_torch
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent))
from docs import blocks

import portable_rnn as prnn

PAGE = Path(__file__).parent.parent / "docs" / "index.md"
RESULTS = {
    "six lines": ("right.mean()", "accuracy"),
    "classify texts": ("accuracy", "accuracy"),
    "add digit by digit": ("right", "sums right"),
    "forecast a series": ("error", "mean error"),
    "tag each step": ("accuracy", "accuracy"),
    "read lines": ("right", "lines right"),
}
Names = dict[str, Any]
Run = Callable[[], float]


def programs() -> dict[str, tuple[str, str, int]]:
    """Return the programs by name: what makes the data, what follows it, and lines of the block."""
    text = PAGE.read_text(encoding="utf-8")
    page = blocks.find(text, "python")
    titles = map(str.lower, re.findall(r'^=== "(.*)"$', text, re.MULTILINE))
    found = dict(zip(titles, (block.source for block in page if block.indent), strict=True))
    data, six = (block.source for block in page[:2])
    return {
        "six lines": (*split(f"{data}\n{six}"), count_lines(six)),
        **{name: (*split(source), count_lines(source)) for name, source in found.items()},
    }


def count_lines(source: str) -> int:
    """Count lines that are neither empty nor a comment."""
    lines = (line.strip() for line in source.splitlines())
    return sum(bool(line) and not line.startswith("#") for line in lines)


def split(source: str) -> tuple[str, str]:
    """Split a program where its network begins."""
    (at,) = (match.start() for match in re.finditer(r"^(model|encoder) =", source, re.MULTILINE))
    return source[:at], source[at:]


def initial(name: str, names: Names) -> tuple[prnn.RNN, Any]:
    """Return the model of a program, and its initial parameters."""
    if name == "add digit by digit":
        return names["encoder"], (names["encoder"].init(seed=0), names["decoder"].init(seed=1))
    return names["model"], names["model"].init(seed=0)


def contenders(name: str, before: str, program: str, peers: dict[str, Any]) -> dict[str, Run]:
    """Return what runs a program, by library."""
    data: Names = {}
    exec(compile(before, name, "exec"), data)
    compiled = compile(program, name, "exec")

    def ours() -> float:
        names = dict(data)
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compiled, names)
        return float(eval(RESULTS[name][0], names))

    names = dict(data)
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compiled, names)
    model, params = initial(name, names)
    return {"ours": ours} | {
        peer: lambda run=module.PROGRAMS[name]: run(names, model, params)
        for peer, module in peers.items()
        if name in module.PROGRAMS
    }


def measure(runs: dict[str, Run], rounds: int) -> dict[str, Any]:
    """Return results, seconds of processor time, and ratios."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    results: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            started = time.process_time()
            results[name].append(run())
            times[name].append(time.process_time() - started)
    row: dict[str, Any] = {name: statistics.median(found) for name, found in results.items()}
    row |= {f"{name}, s": statistics.median(found) for name, found in times.items()}
    mine = times.pop("ours")
    return row | {
        f"{name} / ours": statistics.median(a / b for a, b in zip(found, mine, strict=True))
        for name, found in times.items()
    }


def main() -> None:
    """Measure, print a table, and write it as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=RESULTS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    measuring.pin()
    peers: dict[str, Any] = {"torch": programs_in_torch}
    libraries = [np, torch, prnn]
    if importlib.util.find_spec("keras") is not None:
        import programs_in_keras

        peers["keras"] = programs_in_keras
        libraries.append(programs_in_keras.keras)
    rows = []
    chosen = {n: p for n, p in programs().items() if options.only in (None, n)}
    for name, (before, program, lines) in track(
        chosen.items(), description="measuring", transient=True, console=Console(stderr=True)
    ):
        row = {"program": name, "lines": lines, "result": RESULTS[name][1]}
        rows.append(row | measure(contenders(name, before, program, peers), options.rounds))
    table = Table(title="one thread, float32", title_justify="left")
    columns = list(dict.fromkeys(column for row in rows for column in row))
    for column in columns:
        table.add_column(column, justify="left" if column in ("program", "result") else "right")
    for row in rows:
        shown = (row.get(column, "") for column in columns)
        table.add_row(*(f"{one:.3f}" if isinstance(one, float) else str(one) for one in shown))
    Console().print(table)
    if options.json:
        measuring.write(options.json, tuple(libraries), rounds=options.rounds, rows=rows)


if __name__ == "__main__":
    main()
