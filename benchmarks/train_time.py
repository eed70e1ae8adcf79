"""Characters per second of the training of `portable-rnn train`, compared with the same in torch.

A GRU of 128 units on windows of 64 characters from 16 places of a text, softmax cross-entropy, the
norm of all gradients clipped at 1, Adam. Contenders run some steps each, alternately; reported is
the median over rounds of the ratio of two times of the same round. Losses of the first steps are
compared first.

    python benchmarks/train_time.py [--rounds N] [--json FILE]
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import measuring  # before any library starts its threads
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

import portable_rnn as prnn
from portable_rnn.text import Vocabulary, default_text

BATCH, WINDOW, INPUTS, HIDDEN, LR, STEPS = 16, 64, 32, 128, 6e-3, 20


def windows(labels: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield inputs and targets (T, B), without end."""
    size = (len(labels) - 1) // BATCH
    x = labels[: size * BATCH].reshape(BATCH, size).T
    y = labels[1 : size * BATCH + 1].reshape(BATCH, size).T
    for i in count():
        start = i * WINDOW % (size - WINDOW)
        yield x[start : start + WINDOW], y[start : start + WINDOW]


def ours(labels: np.ndarray, size: int, executor: str) -> Callable[[], float]:
    """Return a step of training by this library, which returns the loss."""
    model = prnn.RNN(INPUTS, HIDDEN, size, cell="gru", vocabulary_size=size)
    held: dict[str, Any] = {"params": model.init(seed=0), "optimizer": None, "state": None}
    data = windows(labels)

    def step() -> float:
        x, y = next(data)
        with prnn.executors.use(executor):
            result = prnn.bptt(model, held["params"], x, y, state=held["state"])
            grads, _ = prnn.optimizers.clip_by_global_norm(result.grads, 1.0)
            held["params"], held["optimizer"] = prnn.optimizers.adam(
                held["params"], grads, held["optimizer"], lr=LR
            )
        held["state"] = result.state
        return float(result.loss)

    return step


def in_torch(labels: np.ndarray, size: int) -> Callable[[], float]:
    """Return the same step as a torch user would write it."""
    model = prnn.RNN(INPUTS, HIDDEN, size, cell="gru", vocabulary_size=size)
    start = {name: torch.from_numpy(array) for name, array in model.init(seed=0).items()}
    gru, readout = torch.nn.GRU(INPUTS, HIDDEN), torch.nn.Linear(HIDDEN, size)
    embedding = torch.nn.Embedding(size, INPUTS)
    embedding.load_state_dict({"weight": start["embedding.weight"]})
    gru.load_state_dict({name: array for name, array in start.items() if "." not in name})
    readout.load_state_dict({name: start[f"readout.{name}"] for name in ("weight", "bias")})
    learned = [*embedding.parameters(), *gru.parameters(), *readout.parameters()]
    adam, data = torch.optim.Adam(learned, lr=LR), windows(labels)
    held: dict[str, Any] = {"state": None}

    def step() -> float:
        x, y = next(data)
        outputs, state = gru(embedding(torch.from_numpy(x)), held["state"])
        flat = readout(outputs).reshape(-1, size)
        loss = torch.nn.functional.cross_entropy(flat, torch.from_numpy(y).long().reshape(-1))
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        adam.step()
        held["state"] = state.detach()
        return float(loss.detach())

    return step


def main() -> None:
    """Measure, print a table, and write it as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    measuring.pin()
    text = default_text()
    vocabulary = Vocabulary.of(text)
    labels = np.asarray(vocabulary.encode(text))
    size = len(vocabulary)
    runs = {
        "compiled": ours(labels, size, "compiled"),
        "eager": ours(labels, size, "eager"),
        "torch": in_torch(labels, size),
    }
    losses = {name: [step() for _ in range(10)] for name, step in runs.items()}
    for name, found in losses.items():
        if not np.allclose(found, losses["torch"], rtol=1e-3):
            raise AssertionError(f"{name}: losses are {found}, those of torch {losses['torch']}")
    times: dict[str, list[float]] = {name: [] for name in runs}
    console = Console(stderr=True)
    for _ in track(range(options.rounds), description="measuring", console=console):
        for name, step in runs.items():
            started = time.process_time()
            for _ in range(STEPS):
                step()
            times[name].append((time.process_time() - started) / STEPS)
    rows = []
    table = Table("", "characters/s", "time / compiled", title=f"GRU of {HIDDEN}, one thread")
    for name, found in times.items():
        speed = BATCH * WINDOW / statistics.median(found)
        ratio = statistics.median(a / b for a, b in zip(found, times["compiled"], strict=True))
        rows.append({"contender": name, "characters/s": speed, "ratio": ratio})
        table.add_row(name, f"{speed:,.0f}", f"{ratio:.2f}")
    Console().print(table)
    if options.json:
        measuring.write(options.json, (np, torch, prnn), rounds=options.rounds, rows=rows)


if __name__ == "__main__":
    main()
