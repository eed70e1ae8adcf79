"""Stage: the table of times, a step forward and backward, ours and others', beside the floor.

Results are first compared with ours in float64; who is off is not timed. Contenders alternate by
rounds. Reported are medians over rounds of the ratio of two times of one round, and of microseconds
of a step: by events on the stream, where a contender works on it, and on the clock, for all.
"""

import math
import statistics
import time
from contextlib import ExitStack
from importlib import import_module
from itertools import product
from typing import Any

import numpy as np
from conformance.tolerances import EPS

from .contenders import ALLOWED, Contender, contenders, draw, errors, on_cupy, passes
from .floor import floor
from .settings import Save, Settings

__all__ = ["case", "run", "summary"]

Times = dict[str, list[tuple[float | None, float]]]
LONG = 0.05  # seconds: of a round, each contender takes about so much


def run(settings: Settings, save: Save) -> dict[str, Any]:
    """Return a row for each cell, number of steps and size."""
    rows: list[dict[str, Any]] = []
    every = product(settings.steps, settings.cells, settings.sizes)
    found = {"rows": rows, "rounds": settings.rounds, "allowed": ALLOWED, "problems": []}
    for steps, cell, (batch, hidden) in every:
        sizes = {"cell": cell, "T": steps, "B": batch, "H": hidden}
        try:
            rows.append(sizes | case(settings, cell, steps, batch, hidden))
        except Exception as error:  # out of memory, say: other sizes are still measured
            rows.append(sizes | {"failed": f"{type(error).__name__}: {error}"})
            found["problems"].append(f"{cell}, {steps}, {batch}, {hidden}: {rows[-1]['failed']}")
        for name, reason in rows[-1].get("off", {}).items():
            found["problems"].append(f"{cell}, {steps}, {batch}, {hidden}: {name} is {reason}")
        save(found)
        print(rows[-1], flush=True)
    return found


def case(settings: Settings, cell: str, steps: int, batch: int, hidden: int) -> dict[str, Any]:
    """Return the figures of one problem."""
    cp = import_module("cupy")
    p = draw(cell, batch, hidden, hidden, steps, "float32")
    reference = [cp.asnumpy(array) for array in passes(on_cupy(p, "float64"), "eager")()]
    scale = float(np.max(np.abs(p.d_y)))
    with current_stream(rehearse=settings.rehearse):
        found, absent = contenders(p, rehearse=settings.rehearse)
        first, wrong, off = {}, {}, {}
        for name, each in list(found.items()):
            started = time.perf_counter()
            got = each.run()
            each.wait(got)
            first[name] = time.perf_counter() - started
            wrong[name] = max(errors([each.host(array) for array in got], reference, scale))
            if not wrong[name] * EPS["float32"] <= ALLOWED[each.precision]:
                off[name] = f"off by {wrong[name]:.3g} eps"
                del found[name]
        times = measure(found, settings)
    cp.get_default_memory_pool().free_all_blocks()
    return {
        "absent": absent,
        "off": off,
        "first_call_s": first,
        "error_eps": wrong,
        "device": {name: each.device for name, each in found.items()},
        "floor_us": {precision: floor(cell, batch, hidden, precision)[1] for precision in ALLOWED},
        **summary(times, steps, [name for name, each in found.items() if each.own]),
    }


def current_stream(*, rehearse: bool) -> ExitStack:
    """Enter one stream, which is CuPy's current one and torch's, so that events on it time both."""
    cp = import_module("cupy")
    stack = ExitStack()
    stream = stack.enter_context(cp.cuda.Stream(non_blocking=True))
    try:
        torch = import_module("torch")
    except ImportError:
        return stack
    if not rehearse and torch.cuda.is_available():
        stack.enter_context(torch.cuda.stream(torch.cuda.ExternalStream(stream.ptr)))
    return stack


def measure(found: dict[str, Contender], settings: Settings) -> Times:
    """Return for each contender and round the seconds of a run: by events, and on the clock."""
    cp = import_module("cupy")
    often, times = {}, {name: [] for name in found}
    for name, each in found.items():
        for _ in range(settings.warm_up):
            each.wait(each.run())
        started = time.perf_counter()
        each.wait(each.run())
        spent = time.perf_counter() - started
        often[name] = max(1, min(settings.iterations, math.ceil(LONG / spent)))
    for _ in range(settings.rounds):
        for name, each in found.items():
            start, end, got = cp.cuda.Event(), cp.cuda.Event(), []
            clock = time.perf_counter()
            start.record()
            for _ in range(often[name]):
                got = each.run()
            end.record()
            each.wait(got)
            clock = (time.perf_counter() - clock) / often[name]
            end.synchronize()
            events = 1e-3 * cp.cuda.get_elapsed_time(start, end) / often[name]
            times[name].append((events if each.on_stream else None, clock))
    return times


def summary(times: Times, steps: int, own: list[str]) -> dict[str, Any]:
    """Return medians, and the ratio to each of ours: median, least and largest.

    A ratio is of two times of one round: by events if both have them, else on the clock.
    """
    kinds = (("events_us_per_step", 0), ("clock_us_per_step", 1))
    median: dict[str, dict[str, float]] = {kind: {} for kind, _ in kinds}
    for kind, i in kinds:
        for name, found in times.items():
            if found and found[0][i] is not None:
                each = [1e6 * one[i] / steps for one in found]  # type: ignore[operator]
                median[kind][name] = statistics.median(each)
    ratios: dict[str, dict[str, list[float]]] = {}
    for mine in own:
        ratios[mine] = {}
        for name in (name for name in times if name != mine):
            both = all(median["events_us_per_step"].get(one) for one in (mine, name))
            i = 0 if both else 1
            each = [b[i] / a[i] for a, b in zip(times[mine], times[name], strict=True)]
            ratios[mine][name] = [statistics.median(each), min(each), max(each)]
    return {**median, "ratios": ratios}
