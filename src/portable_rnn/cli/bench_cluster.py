"""``portable-rnn bench --workers``: a training step on a cluster, compared with one process.

Steps of both alternate. The parts of a step are measured by themselves too: a model that is made of
them is compared with the step on the cluster, and says what more workers would do.
"""

import functools
import itertools
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl
from rich import box
from rich.console import Group
from rich.progress import track
from rich.table import Table

from .. import optimizers
from .._arrays import checks as check
from .._files.atomic import write_atomically
from ..api import bptt
from ..batches import Batch
from ..cells import CELLS
from ..distributed import DaskGradients, Shards
from ..distributed.parts import HostParams
from ..model import RNN
from ..training.distributed import PartResult, Sums
from .bench import about_machine
from .cluster import connected
from .cluster_model import NETWORK, Costs
from .terminal import Console

__all__ = ["ClusterSizes", "bench_cluster"]

WORKERS = (8, 16, 32, 64, 128, 256, 512, 1024)
SHARE = 0.9  # of the time that workers should compute
CLASSES = 32
HEADS = (
    *("cell", "T, B, H", "one\nproc.", "cluster", "ratio", "model"),
    *("com-\npute", "trip", "task", "ns /\nbyte"),
)
WARM = 3  # steps before any is timed


@dataclass(frozen=True)
class ClusterSizes:
    """What to measure: all combinations of sizes. ``batches`` are of all workers together."""

    workers: int
    cells: tuple[str, ...] = ("gru",)
    batches: tuple[int, ...] = (64,)
    hidden: tuple[int, ...] = (64, 128, 256, 512)
    inputs: int | None = None  # as many as units
    steps: tuple[int, ...] = (64,)
    dtype: str = "float32"
    rounds: int = 15

    def __post_init__(self) -> None:
        """Check the options, before any work is done."""
        check.count("workers", self.workers)
        check.choice("dtype", self.dtype, ("float32", "float64"))
        check.count("rounds", self.rounds)
        if self.inputs is not None:
            check.count("inputs", self.inputs)
        for name in ("batches", "hidden", "steps"):
            for value in getattr(self, name):
                check.count("batch" if name == "batches" else name, value)
        for batch in self.batches:
            if batch < self.workers:
                raise ValueError(f"batch: expected a sequence for each worker, got {batch}")
        for cell in self.cells:
            check.choice("cell", cell, tuple(CELLS))


@dataclass(frozen=True)
class Drawn:
    """Shards of one batch, drawn once in each process; a picklable loader."""

    steps: int
    batch: int
    shards: int
    inputs: int
    dtype: str

    def __call__(self, step: int, shard: int) -> Batch:
        x, labels = _draw(self.steps, self.batch, self.inputs, self.dtype)
        ends = [self.batch * i // self.shards for i in (shard, shard + 1)]
        return Batch(x[:, slice(*ends)], labels[:, slice(*ends)])


@functools.lru_cache(maxsize=2)
def _draw(steps: int, batch: int, inputs: int, dtype: str) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((steps, batch, inputs)).astype(dtype)
    return x, rng.integers(0, CLASSES, (steps, batch))


def bench_cluster(sizes: ClusterSizes, console: Console, to: Path | None = None) -> None:
    """Measure, print tables, and write a record if asked."""
    if to is not None and (to.is_dir() or not to.absolute().parent.is_dir()):
        raise ValueError(f"json: expected a file in an existing folder, got {to}")
    cases = list(itertools.product(sizes.cells, sizes.steps, sizes.batches, sizes.hidden))
    with connected(sizes.workers, None, console) as client, threadpoolctl.threadpool_limits(1):
        rows = [
            _measured(client, sizes, *case)
            for case in track(cases, description="measuring", console=console, transient=True)
        ]
    console.print(Group(_times(rows, sizes), *(_plan(row) for row in rows[-1:])))
    if to is not None:
        record = about_machine() | asdict(sizes) | {"network": asdict(NETWORK), "rows": rows}
        write_atomically(to, (json.dumps(record, indent=1) + "\n").encode())


def _measured(
    client: Any, sizes: ClusterSizes, cell: str, steps: int, batch: int, hidden: int
) -> dict[str, Any]:
    """Return times of one size: of a step, alternately on the cluster and here, and of parts."""
    inputs, workers = sizes.inputs or hidden, sizes.workers
    model = RNN(inputs, hidden, CLASSES, cell=cell)
    params = model.init(seed=0, dtype=sizes.dtype)
    load = functools.partial(Drawn, steps, batch, inputs=inputs, dtype=sizes.dtype)
    whole = load(shards=1)(0, 0)
    gradients = DaskGradients(client, model)
    update = functools.partial(_stepped, params)
    on_cluster = Shards(load(shards=workers), workers).batch(0)

    def one_process() -> None:
        update(bptt(model, params, whole.x, whole.targets, grad_x=False).grads)

    def cluster() -> None:
        update(gradients(params, on_cluster)[1])

    shard = load(shards=workers)(0, 0)

    def compute() -> None:
        bptt(model, params, shard.x, shard.targets, grad_x=False)

    here, there = _alternately([one_process, cluster], sizes.rounds)
    ratios = sorted(a / b for a, b in zip(here, there, strict=True))
    (computing,), (updating,) = (_alternately([f], 5) for f in (compute, lambda: update(params)))
    trip, many, full = _trips(client, model, params, workers)
    size = sum(p.nbytes for p in params.values())
    task = max(0.0, (many - trip) / (3 * workers))
    costs = Costs(
        compute=statistics.median(computing),
        trip=max(0.0, trip - workers * task),
        task=task,
        byte=max(0.0, full - trip) / (2 * workers * size),
        update=statistics.median(updating),
        size=size,
    )
    return {
        **{"cell": cell, "T": steps, "B": batch, "H": hidden, "costs": asdict(costs)},
        "one_process_s": statistics.median(here),
        "cluster_s": statistics.median(there),
        "model_s": costs.here(workers, workers),
        "ratio": [ratios[len(ratios) * i // 4] for i in (2, 1, 3)],
    }


def _stepped(params: dict[str, Any], grads: dict[str, Any]) -> None:
    optimizers.adam(params, grads, None, lr=1e-3)


def _trips(
    client: Any, model: RNN, params: dict[str, Any], workers: int
) -> tuple[float, float, float]:
    """Return the time of a step that computes nothing: as it is; of more shards; of all bytes."""
    tiny = RNN(1, 1)
    small = tiny.init(seed=0)

    def echo(of: RNN, sent: dict[str, Any], shards: int) -> Callable[[], Any]:
        gradients = DaskGradients(client, of)
        gradients._function = _echo
        batch = Shards(_nothing, shards).batch(0)
        return lambda: gradients(sent, batch)

    calls = [echo(tiny, small, workers), echo(tiny, small, 4 * workers)]
    found = _alternately([*calls, echo(model, params, workers)], 15)
    trip, many, full = map(statistics.median, found)
    return trip, many, full


def _nothing(step: int, shard: int) -> Batch:
    raise AssertionError("no shard is loaded")


def _echo(work: Any, params: HostParams, *args: Any) -> Sums:
    """Return parameters as they came, in place of gradients."""
    return Sums(dict(params.arrays), [PartResult(0.0, 1.0, 1.0, None, {})])


def _alternately(calls: list[Callable[[], Any]], rounds: int) -> list[list[float]]:
    """Return the times of calls on the clock, of which each round has one of each."""
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(WARM + rounds):
        for call, found in zip(calls, times, strict=True):
            started = time.perf_counter()
            call()
            if turn >= WARM:
                found.append(time.perf_counter() - started)
    return times


def _times(rows: list[dict[str, Any]], sizes: ClusterSizes) -> Table:
    """Return the times of steps, and of their parts."""
    count = check.counted(sizes.workers, "worker")
    title = f"a step of training in ms, {sizes.dtype}, {count} of one thread on this machine"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for head in HEADS:
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        costs, (middle, low, high) = Costs(**row["costs"]), row["ratio"]
        table.add_row(
            *(row["cell"], f"{row['T']}, {row['B']}, {row['H']}"),
            *(f"{1e3 * row[name]:.1f}" for name in ("one_process_s", "cluster_s")),
            f"{middle:.2f} ±{(high - low) / 2:.2f}",
            f"{1e3 * row['model_s']:.1f}",
            *(f"{1e3 * value:.1f}" for value in (costs.compute, costs.trip, costs.task)),
            f"{1e9 * costs.byte:.1f}",
        )
    return table


def _plan(row: dict[str, Any]) -> Table:
    """Return what the model says of more workers, each with one shard on a machine of its own."""
    costs = Costs(**row["costs"])
    title = (
        f"extrapolated, not measured: {row['cell']}, H={row['H']}, one shard a worker, each on a "
        "machine of its own, 10 Gbit/s, 0.2 ms"
    )
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("workers", "step\nms", "computing", f"local steps\nfor {SHARE:.0%}"):
        table.add_column(head, justify="right")
    for workers in WORKERS:
        table.add_row(
            str(workers),
            f"{1e3 * costs.on(NETWORK, workers, workers):.0f}",
            f"{costs.efficiency(NETWORK, workers):.0%}",
            str(costs.local_steps_for(SHARE, NETWORK, workers)),
        )
    return table
