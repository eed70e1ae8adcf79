"""``portable-rnn bench``: how long a layer takes here, and how long others take for the same.

All contenders run in this process, alternately, on one thread, pinned where the system can. Their
results are compared before anything is timed. A figure is the median over rounds of the ratio of
two times of the same round: what disturbs a round disturbs both. Time is that of the process, which
other processes disturb less; that on the clock stands in the record too, and is what is compared if
there are several threads.
"""

import json
import os
import platform
import statistics
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl
from rich import box
from rich.console import Group
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from .. import executors
from .._arrays import checks as check
from .._files.atomic import write_atomically
from ..cells import CELLS
from ..model import RNN
from .contenders import WORK, Run, contenders, draw
from .info import version_of
from .terminal import Console, messages_on

__all__ = ["Sizes", "about_machine", "bench"]

WIDE = 110  # columns of a terminal that has room for all figures
PART = 0.02  # seconds of a round that each contender takes, at least
ALLOWED = {"float32": 1e-4, "float64": 1e-10}  # of the largest: far below any mistake
# That of the process, unless it ticks too slowly, as on Windows.
COARSE = time.get_clock_info("process_time").resolution > 1e-3
cpu_time = time.perf_counter if COARSE else time.process_time
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
PACKAGES = ("numpy", "llvmlite", "torch", "jax", "onnxruntime")


@dataclass(frozen=True)
class Sizes:
    """What to measure: all combinations."""

    work: str = "train"
    cells: tuple[str, ...] = ("gru",)
    batches: tuple[int, ...] = (1, 16, 64)
    hidden: tuple[int, ...] = (32, 128, 512)
    inputs: int | None = None  # as many as units
    steps: tuple[int, ...] = (128,)
    dtype: str = "float32"
    rounds: int = 7
    threads: int = 1

    def __post_init__(self) -> None:
        """Check the options, before any work is done."""
        check.choice("work", self.work, WORK)
        check.choice("dtype", self.dtype, tuple(ALLOWED))
        check.count("rounds", self.rounds)
        if (threads := check.count("threads", self.threads)) > CORES:
            raise ValueError(f"threads: expected at most {CORES}, one for each core, got {threads}")
        if self.inputs is not None:
            check.count("inputs", self.inputs)
        for name in ("batches", "hidden", "steps"):
            for value in getattr(self, name):
                check.count("batch" if name == "batches" else name, value)
        for cell in self.cells:
            check.choice("cell", cell, tuple(CELLS))


def bench(sizes: Sizes, console: Console, to: Path | None = None) -> None:
    """Measure, print tables, and write a record if asked."""
    executors.explain(RNN(1, 1))  # refuses what the environment may name
    if to is not None and (to.is_dir() or not to.absolute().parent.is_dir()):
        raise ValueError(f"json: expected a file in an existing folder, got {to}")
    rows, every = [], product(sizes.cells, sizes.steps, sizes.batches, sizes.hidden)
    with limited(sizes.threads), messages_on(console):
        for cell, steps, batch, hidden in track(
            list(every), description="measuring", console=console, transient=True
        ):
            p = draw(
                cell,
                batch,
                hidden,
                hidden if sizes.inputs is None else sizes.inputs,
                steps,
                sizes.dtype,
            )
            runs = contenders(sizes.work, p, sizes.threads)
            first, peak = first_call(runs), peak_of(runs)
            compare(runs, ALLOWED[sizes.dtype])
            case = {"cell": cell, "T": steps, "B": batch, "H": hidden}
            rows.append(case | {"first_call_s": first, "peak_bytes": peak})
            rows[-1] |= summary(measure(runs, sizes.rounds), steps, sizes.threads)
    record = about(sizes) | {"rows": rows}
    wide = console.width >= WIDE
    console.print(Group(*(table(record, cell, wide=wide) for cell in sizes.cells)))
    if to is not None:
        write_atomically(to, (json.dumps(record, indent=1) + "\n").encode())


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """Stay on as many cores, and have the libraries that are installed use as many threads."""
    # Before JAX starts; to the others the limit of the pools is told.
    several = "true" if threads > 1 else "false"
    flags = f"--xla_cpu_multi_thread_eigen={several} intra_op_parallelism_threads={threads}"
    wanted = {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ |= added
    pins = hasattr(os, "sched_setaffinity")
    cores = os.sched_getaffinity(0) if pins else set()
    try:
        if pins:
            os.sched_setaffinity(0, sorted(cores)[-threads:])
        with threadpoolctl.threadpool_limits(threads), executors.use(threads=threads):
            yield
    finally:
        if pins:
            os.sched_setaffinity(0, cores)
        for name in added:
            os.environ.pop(name, None)


def first_call(runs: dict[str, Run]) -> dict[str, float]:
    """Return how many seconds each takes the first time at a size.

    At the first size of a cell, code may have to be made or loaded.
    """
    found = {}
    for name, run in runs.items():
        started = time.perf_counter()
        run()
        found[name] = time.perf_counter() - started
    return found


def peak_of(runs: dict[str, Run]) -> dict[str, int]:
    """Return the most bytes that NumPy and Python hold at a time; of other libraries, none know."""
    found = {}
    for name in runs.keys() & {"compiled", "eager"}:
        tracemalloc.start()
        try:
            runs[name]()
            found[name] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    return found


def compare(runs: dict[str, Run], allowed: float) -> None:
    """Compare what they compute with what `eager` does.

    Raises
    ------
    ValueError
        If a result is off: its time would say nothing.
    """
    expected = runs["eager"]()
    for name in runs.keys() - {"eager", "floor"}:
        for i, (got, want) in enumerate(zip(runs[name](), expected, strict=True)):
            want = np.asarray(want)
            error = float(np.abs(np.asarray(got).reshape(want.shape) - want).max())
            if not error <= allowed * max(1.0, float(np.abs(want).max())):
                raise ValueError(f"{name}: result {i} is off by {error:.1e}")


def measure(runs: dict[str, Run], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Time each in turn, round by round; return seconds of the process, and on the clock."""
    repeats = {}
    for name, run in runs.items():
        started = time.perf_counter()
        run()
        repeats[name] = max(1, round(PART / max(time.perf_counter() - started, 1e-6)))
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            clock, process = time.perf_counter(), cpu_time()
            for _ in range(repeats[name]):
                run()
            process, clock = cpu_time() - process, time.perf_counter() - clock
            times[name].append((process / repeats[name], clock / repeats[name]))
    return times


def summary(
    times: dict[str, list[tuple[float, float]]], steps: int, threads: int = 1
) -> dict[str, Any]:
    """Return medians by contender, and ratios with ours, with their quartiles.

    Ratios are of times of the process; with several threads, of times on the clock.
    """
    mine = "compiled" if "compiled" in times else "eager"
    median = {
        kind: {
            name: statistics.median(both[i] for both in found) / steps * 1e6
            for name, found in times.items()
        }
        for i, kind in ((0, "process_us_per_step"), (1, "clock_us_per_step"))
    }
    ratios = {}
    for name in times.keys() - {mine}:
        which = 1 if threads > 1 else 0
        pairs = [(a[which], b[which]) for a, b in zip(times[name], times[mine], strict=True)]
        # Of the floor the other way: how far from it.
        each = sorted(b / a if name == "floor" else a / b for a, b in pairs)
        low, _, high = (
            statistics.quantiles(each, n=4, method="inclusive") if len(each) > 1 else (each[0],) * 3
        )
        ratios[name] = [statistics.median(each), low, high]
    return {"ours": mine, **median, "ratios": ratios}


def about(sizes: Sizes) -> dict[str, Any]:
    """Return what was measured, when, and on what."""
    with executors.use("auto"):
        how = executors.explain(RNN(1, 1, cell=sizes.cells[0]), sizes.dtype)
    return about_machine() | {"executor": how} | asdict(sizes)


def about_machine() -> dict[str, Any]:
    """Return when and on what something is measured."""
    pools = [
        {key: pool.get(key) for key in ("internal_api", "version", "architecture", "num_threads")}
        for pool in threadpoolctl.threadpool_info()
    ]
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := version_of(name)) != "-"},
        "pools": pools,
    }


def table(record: dict[str, Any], cell: str, *, wide: bool = True) -> Table:
    """Return the figures of a cell; spreads, first calls and memory where there is room."""
    rows = [row for row in record["rows"] if row["cell"] == cell]
    mine = rows[0]["ours"]
    threads = record["threads"]
    times, how_many = "process_us_per_step", "one thread"
    if threads > 1:
        times, how_many = "clock_us_per_step", f"{threads} threads, time on the clock"
    others = [name for name in rows[0][times] if name != mine]
    with executors.use("auto"):
        how = escape(executors.explain(RNN(1, 1, cell=cell), record["dtype"]))
    title = f"{cell}, {record['work']}, {record['dtype']}, {how_many}; {how}"
    found = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("T, B, H", f"{mine}\nµs/step"):
        found.add_column(name, justify="right", no_wrap=True)
    for name in others:
        over = "ours\n/ floor" if name == "floor" else f"{name}\n/ ours"
        found.add_column(over, justify="right", no_wrap=True)
    for name in ("first\ncall, s", "MiB") if wide else ():
        found.add_column(name, justify="right")
    for row in rows:
        shown = []
        for name in others:
            middle, low, high = row["ratios"][name]
            shown.append(f"{middle:.2f}" + f" ±{(high - low) / 2:.2f}" * wide)
        more = f"{row['first_call_s'][mine]:.2f}", f"{row['peak_bytes'][mine] / 2**20:.1f}"
        found.add_row(
            f"{row['T']}, {row['B']}, {row['H']}",
            f"{row[times][mine]:.1f}",
            *shown,
            *(more if wide else ()),
        )
    return found
