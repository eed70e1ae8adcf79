"""Time of what surrounds a recurrent network, forward and backward, compared with torch.

Embeddings: vectors of tokens, whose frequencies fall as 1/n, and the gradient of the matrix.
Answers: a step of a GRU with lengths, whose readout has many classes; also with an output at each
step, of which a loss takes the last. Attention: all queries of a decoder at once, against the same
products and softmax in torch with its autograd. Connectionist temporal classification: the loss and
its gradient with respect to the outputs. All run alternately, round by round, on one pinned thread
in float32, after their results have been compared; reported is the median over rounds of the ratio
of two times of the same round.

    python benchmarks/tokens_time.py [--rounds N] [--json FILE]
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import measuring  # before any library starts its threads
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

import portable_rnn as prnn

EMBEDDINGS = [(98, 1024, 32), (256, 8192, 64), (10_000, 800, 128), (10_000, 6400, 128)]
EMBEDDINGS += [(10_000, 6400, 256), (30_000, 6400, 256)]
STEPS, BATCH, HIDDEN, CLASSES = 200, 32, 64, 1000
QUERIES, MEMORY, SIZE = 50, 100, 128  # of attention
LABELS, KINDS = 30, 50  # of connectionist temporal classification
Run = Callable[[], list[Any]]


def embeddings(vocabulary: int, count: int, size: int) -> dict[str, Run]:
    """Return the embedding and its gradient by both libraries."""
    rng, share = np.random.default_rng(0), 1.0 / np.arange(1, vocabulary + 1)
    tokens = rng.choice(vocabulary, size=count, p=share / share.sum())
    weight = rng.standard_normal((vocabulary, size), dtype=np.float32)
    d = rng.standard_normal((count, size), dtype=np.float32)
    module = torch.nn.Embedding(vocabulary, size)
    module.load_state_dict({"weight": torch.from_numpy(weight)})
    given, d_torch = torch.from_numpy(tokens), torch.from_numpy(d)

    def ours(executor: str) -> list[Any]:
        with prnn.executors.use(executor):
            return [prnn.embed(weight, tokens), prnn.embed_vjp(tokens, d, vocabulary)]

    def torchs() -> list[Any]:
        vectors = module(given)
        (found,) = torch.autograd.grad(vectors, module.weight, d_torch)
        return [vectors.detach().numpy(), found.numpy()]

    return {"ours": lambda: ours("auto"), "eager": lambda: ours("eager"), "torch": torchs}


def answers() -> dict[str, Run]:
    """Return a step of training by both libraries."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(STEPS // 2, STEPS + 1, BATCH)
    x = rng.standard_normal((STEPS, BATCH, HIDDEN), dtype=np.float32)
    labels = rng.integers(0, CLASSES, BATCH)
    sizes = (HIDDEN, HIDDEN, CLASSES)
    pooled = prnn.RNN(*sizes, cell="gru", pool="last")
    params = pooled.init(seed=0)
    every = prnn.RNN(*sizes, cell="gru")
    wanted, last = np.zeros((STEPS, BATCH), np.int64), np.zeros((STEPS, BATCH), np.bool_)
    wanted[lengths - 1, np.arange(BATCH)], last[lengths - 1, np.arange(BATCH)] = labels, True

    gru, readout = torch.nn.GRU(HIDDEN, HIDDEN), torch.nn.Linear(HIDDEN, CLASSES)
    start = {name: torch.from_numpy(array) for name, array in params.items()}
    gru.load_state_dict({name: a for name, a in start.items() if "." not in name})
    readout.load_state_dict({name: start[f"readout.{name}"] for name in ("weight", "bias")})
    learned = [*gru.parameters(), *readout.parameters()]
    x_torch, labels_torch = torch.from_numpy(x), torch.from_numpy(labels)
    steps_torch = torch.from_numpy(lengths)

    def ours() -> list[Any]:
        found = prnn.bptt(pooled, params, x, labels, lengths=lengths, grad_x=False)
        return [found.loss, *found.grads.values()]

    def each_step() -> list[Any]:
        found = prnn.bptt(every, params, x, wanted, weights=last, grad_x=False)
        return [found.loss, *found.grads.values()]

    def torchs() -> list[Any]:
        hidden, _ = gru(x_torch)
        rows = readout(hidden[steps_torch - 1, torch.arange(BATCH)])
        loss = torch.nn.functional.cross_entropy(rows, labels_torch)
        return [loss.detach().numpy(), *(g.numpy() for g in torch.autograd.grad(loss, learned))]

    return {"ours": ours, "an output at each step": each_step, "torch": torchs}


def attention(score: str) -> dict[str, Run]:
    """Return attention and its gradients by both libraries."""
    rng = np.random.default_rng(0)
    query = rng.standard_normal((QUERIES, BATCH, SIZE), dtype=np.float32)
    memory = rng.standard_normal((MEMORY, BATCH, SIZE), dtype=np.float32)
    query, memory = query / SIZE**0.5, memory / SIZE**0.5
    d = rng.standard_normal((QUERIES, BATCH, SIZE), dtype=np.float32)
    params = prnn.attention.init(score, SIZE, SIZE, SIZE if score == "additive" else None)
    given = [torch.from_numpy(a).requires_grad_() for a in (query, memory, *params.values())]
    d_torch = torch.from_numpy(d)

    def ours() -> list[Any]:
        context, _, residuals = prnn.attend(query, memory, params, score=score)
        found = prnn.attend_vjp(residuals, d)
        return [context, found.query, found.memory, *found.params.values()]

    def torchs() -> list[Any]:
        q, m = (one.transpose(0, 1) for one in given[:2])
        if score == "additive":
            of_query, of_memory, of_score = given[2:]
            sums = (q @ of_query.T)[:, :, None, :] + (m @ of_memory.T)[:, None, :, :]
            scores = torch.tanh(sums) @ of_score[0]
        else:
            scores = torch.bmm(q, m.transpose(1, 2))
        context = torch.bmm(torch.softmax(scores, dim=2), m).transpose(0, 1)
        grads = torch.autograd.grad(context, given, d_torch)
        return [context.detach().numpy(), *(grad.numpy() for grad in grads)]

    return {"ours": ours, "torch": torchs}


def alignments(steps: int) -> dict[str, Run]:
    """Return connectionist temporal classification by both libraries."""
    rng = np.random.default_rng(0)
    outputs = rng.standard_normal((steps, BATCH, KINDS), dtype=np.float32)
    labels = rng.integers(1, KINDS, (BATCH, LABELS))
    lengths, counts = torch.full((BATCH,), steps), torch.full((BATCH,), LABELS)
    outputs_torch, labels_torch = torch.from_numpy(outputs).requires_grad_(), torch.tensor(labels)

    def ours() -> list[Any]:
        return list(prnn.losses.ctc(outputs, labels))

    def torchs() -> list[Any]:
        log_p = torch.log_softmax(outputs_torch, dim=2)
        loss = torch.nn.functional.ctc_loss(log_p, labels_torch, lengths, counts)
        (grad,) = torch.autograd.grad(loss, outputs_torch)
        return [loss.detach().numpy(), grad.numpy()]

    return {"ours": ours, "torch": torchs}


def works() -> dict[str, Callable[[], dict[str, Run]]]:
    """Return what is measured, by name."""
    of_attention = f"{QUERIES} queries, {MEMORY} steps, {SIZE} numbers, {BATCH} sequences"
    of_labels = f"{BATCH} sequences, {KINDS} classes, {LABELS} labels"
    return {
        **{
            "embedding of {:,} words, {:,} tokens, {} numbers".format(*sizes): partial(
                embeddings, *sizes
            )
            for sizes in EMBEDDINGS
        },
        f"GRU of {HIDDEN}, {CLASSES:,} classes, {BATCH} sequences of up to {STEPS} steps": answers,
        **{
            f"attention, {score}: {of_attention}": partial(attention, score)
            for score in ("dot", "additive")
        },
        **{
            f"ctc, {steps:,} steps: {of_labels}": partial(alignments, steps)
            for steps in (200, 1000)
        },
    }


def measure(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """Compare results; return the milliseconds of ours, and ratios of the others with it."""
    want = runs["ours"]()
    for name, run in runs.items():
        for got, expected in zip(run(), want, strict=True):
            error = np.abs(np.asarray(got) - expected).max()
            if not error <= 1e-4 * max(1.0, float(np.abs(expected).max())):
                raise ValueError(f"{name}: off by {error:.1e}")
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            started = time.process_time()
            for _ in range(3):
                run()
            times[name].append((time.process_time() - started) / 3)
    mine = times.pop("ours")
    ratios = {
        f"{name} / ours": statistics.median(a / b for a, b in zip(found, mine, strict=True))
        for name, found in times.items()
    }
    return {"ours, ms": 1e3 * statistics.median(mine)} | ratios


def main() -> None:
    """Measure, print a table, and write it as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    measuring.pin()
    rows = []
    for name, prepare in track(works().items(), description="measuring", transient=True):
        rows.append({"work": name} | measure(prepare(), options.rounds))
    table = Table(title="one thread, float32", title_justify="left")
    columns = list(dict.fromkeys(column for row in rows for column in row))
    for column in columns:
        table.add_column(column, justify="left" if column == "work" else "right")
    for row in rows:
        shown = (row.get(column, "") for column in columns)
        table.add_row(*(one if isinstance(one, str) else f"{one:.2f}" for one in shown))
    Console().print(table)
    if options.json:
        measuring.write(options.json, (np, torch, prnn), rounds=options.rounds, rows=rows)


if __name__ == "__main__":
    main()
