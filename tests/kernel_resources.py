"""Compile fused and persistent kernels by NVRTC, and print a table of what they take of a device.

    python -m tests.kernel_resources [--all] [--json FILE]

With ``--all``, more cells and sizes. No GPU is needed; see ``nvrtc.py`` for where NVRTC is found.
"""

import argparse
import itertools
import json
from dataclasses import asdict
from pathlib import Path

from portable_rnn._executors import cuda_step
from portable_rnn._executors.cuda_persistent import source
from portable_rnn._executors.cuda_plan import Limits, plan
from portable_rnn._executors.trace import trace
from portable_rnn.cells import GRU, LSTM, MGU, Elman

from .nvrtc import Compiler, Unavailable

CELLS = {
    "elman": Elman(),
    "gru": GRU(),
    "lstm": LSTM(),
    "mgu": MGU(),
    "lstm-peepholes": LSTM(peepholes=True),
}
# Capability, multiprocessors, shared memory of a block and of a multiprocessor, threads.
DEVICES = {
    "sm_80": Limits(80, 108, 163 << 10, 164 << 10, 2048),  # A100
    "sm_90": Limits(90, 132, 227 << 10, 228 << 10, 2048),  # H100
    "sm_100": Limits(100, 148, 227 << 10, 228 << 10, 2048),  # B200
}
DTYPES = ("float32", "float64", "float16", "bfloat16")
FEW = (("elman", "lstm"), DTYPES, ((16, 256), (61, 500)))
ALL = (CELLS, DTYPES, ((1, 64), (16, 256), (64, 256), (1, 512), (61, 500), (64, 512), (16, 1024)))


def cases(*, every):
    """Yield what is compiled: a device, a cell, a dtype, B and H, and a barrier if it is forced."""
    cells, dtypes, sizes = ALL if every else FEW
    for device, cell, dtype, size in itertools.product(DEVICES, cells, dtypes, sizes):
        yield device, cell, dtype, size, ""
    for device, cell, dtype in itertools.product(DEVICES, cells, dtypes):
        for barrier in ("block", "global", "cluster"):
            if barrier != "cluster" or DEVICES[device].capability >= 90:
                yield device, cell, dtype, (16, 96 if barrier != "block" else 64), barrier


def fused(compiler, *, every):
    """Yield a record for each kernel of a step."""
    cells, dtypes, _ = ALL if every else FEW
    options = list(itertools.product(("", "choose", "mix"), (False, True)))
    for device, cell, dtype in itertools.product(DEVICES, cells, dtypes):
        for held, scaled in options if every else (options[0], options[-1]):
            text = cuda_step.source(trace(CELLS[cell], held), dtype, scaled=scaled)
            for name, resources in compiler.compile(text, device).items():
                yield {
                    **{"device": device, "cell": cell, "dtype": dtype, "kernel": name},
                    **{"held": held, "scaled": scaled, "threads": 128, "resident": 1, "shared": 0},
                    "shared_limit": DEVICES[device].shared_per_block,
                    **asdict(resources),
                }


def rows(*, every):
    """Yield a record for each kernel, or with the reason why there is none."""
    compiler = Compiler()
    yield from fused(compiler, every=every)
    for device, cell, dtype, (batch, units), barrier in cases(every=every):
        program = trace(CELLS[cell])
        found = plan(program, batch, units, dtype, DEVICES[device], barrier=barrier)
        case = {"device": device, "cell": cell, "dtype": dtype, "B": batch, "H": units}
        if isinstance(found, str):
            yield case | {"why_not": found}
            continue
        limits, kernels = DEVICES[device], compiler.compile(source(program, found), device)
        for name, resources in kernels.items():
            shared = found.shared(back="backward" in name)
            yield {
                **case,
                "kernel": name.removeprefix("persistent_"),
                "barrier": found.barrier,
                "C": found.blocks,
                "BT": found.sequences,
                "threads": found.threads,
                "grid": found.grid,
                "shared": shared,
                "shared_limit": limits.shared_per_block,
                "resident": limits.resident(found.threads, shared) // limits.multiprocessors,
                **asdict(resources),
            }


def print_table(records, version):
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Kernels by NVRTC {version}")
    names = ("device", "cell", "dtype", "B", "H", "barrier", "C", "BT", "threads", "grid")
    columns = (*names, "kernel", "registers", "spilled", "shared")
    for name in columns:
        table.add_column(name, no_wrap=True)
    for record in records:
        table.add_row(*(str(record.get(name, "-")) for name in columns))
    Console(width=160).print(table)


def main():
    """Compile, and print or write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    try:
        records, version = list(rows(every=given.all)), Compiler().version
    except Unavailable as reason:
        raise SystemExit(f"not run: {reason}") from None
    if given.json:
        given.json.write_text(json.dumps({"nvrtc": version, "rows": records}), encoding="utf-8")
    else:
        print_table(records, version)


if __name__ == "__main__":
    main()
