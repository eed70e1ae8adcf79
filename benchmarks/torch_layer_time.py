"""Time of a network as a module of torch, compared with torch's own module.

Forward and backward through 50 steps, with the same parameters, in float32 on one pinned thread.
Both run alternately, round by round, after their gradients have been compared; reported is the
median over rounds of the ratio of two times of the same round.

    python benchmarks/torch_layer_time.py [--rounds N] [--json FILE]
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import measuring  # before any library starts its threads
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

import portable_rnn as prnn
from portable_rnn.torch import Layer

STEPS, SIZES = 50, [(1, 64), (16, 128), (64, 256), (64, 512)]
MODULES = {"elman": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}


def measure(cell: str, batch: int, hidden: int, rounds: int) -> dict[str, Any]:
    """Compare the gradients, then the times of a training step."""
    module = MODULES[cell](hidden, hidden)
    layer = Layer(prnn.RNN(hidden, hidden, cell=cell))
    layer.load_state_dict(module.state_dict())
    x, d = torch.randn(2, STEPS, batch, hidden)

    def step(layers: torch.nn.Module) -> float:
        start = time.process_time()
        for _ in range(max(1, 2**21 // (batch * hidden**2))):
            layers.zero_grad()
            layers(x)[0].backward(d)
        return time.process_time() - start

    times: dict[str, list[float]] = {"ours": [], "torch": []}
    step(layer), step(module)
    for found, expected in zip(layer.parameters(), module.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-3, atol=1e-3)
    for _ in range(rounds):
        for name, layers in (("ours", layer), ("torch", module)):
            times[name].append(step(layers))
    ratio = statistics.median(b / a for a, b in zip(*times.values(), strict=True))
    return {"cell": cell, "batch": batch, "hidden": hidden, "torch / ours": ratio}


def main() -> None:
    """Measure, print a table, and write it as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    measuring.pin()
    cases = [(cell, *size) for cell in MODULES for size in SIZES]
    rows = [
        measure(*case, options.rounds)
        for case in track(cases, description="measuring", transient=True)
    ]
    table = Table(title="one thread, float32", title_justify="left")
    for column in rows[0]:
        table.add_column(column, justify="left" if column == "cell" else "right")
    for row in rows:
        shown = row.values()
        table.add_row(*(f"{one:.2f}" if isinstance(one, float) else str(one) for one in shown))
    Console().print(table)
    if options.json:
        measuring.write(options.json, (np, torch, prnn), rounds=options.rounds, rows=rows)


if __name__ == "__main__":
    main()
