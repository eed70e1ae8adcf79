"""Metrics on every backend: those of all steps at once, whatever the batches, by plain loops."""

import math

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn import metrics

from .selection import full_precision

T, B, C, F = 4, 5, 3, 2

dtypes = full_precision


def steps(scores, labels, weights):
    """Yield the rows that count, with their weights."""
    for place in np.ndindex(*weights.shape):
        if weights[place]:
            yield scores[place].tolist(), labels[place].tolist(), float(weights[place])


def mean(pairs):
    pairs = list(pairs)
    return math.fsum(v * w for v, w in pairs) / math.fsum(w for _, w in pairs)


def accuracy(rows):
    return mean((row.index(max(row)) == label, w) for row, label, w in rows)


def top_2(rows):
    return mean((sum(one > row[label] for one in row) < 2, w) for row, label, w in rows)


def f1(rows):
    rows, scores = list(rows), []
    for c in range(C):
        right = sum(w for row, label, w in rows if row.index(max(row)) == label == c)
        predicted = sum(w for row, _, w in rows if row.index(max(row)) == c)
        wanted = sum(w for _, label, w in rows if label == c)
        if predicted + wanted:
            precision, recall = right / (predicted or 1), right / (wanted or 1)
            scores.append(2 * precision * recall / ((precision + recall) or 1))
    return sum(scores) / len(scores)


def perplexity(rows):
    nats = ((math.log(sum(map(math.exp, row))) - row[label], w) for row, label, w in rows)
    return math.exp(mean(nats))


def absolute(rows):
    return mean((abs(a - b), w) for row, want, w in rows for a, b in zip(row, want, strict=True))


def root_square(rows):
    squares = (((a - b) ** 2, w) for row, want, w in rows for a, b in zip(row, want, strict=True))
    return math.sqrt(mean(squares))


def r2(rows):
    rows, found = list(rows), []
    for f in range(F):
        centre = mean((want[f], w) for _, want, w in rows)
        error = mean(((row[f] - want[f]) ** 2, w) for row, want, w in rows)
        found.append(1 - error / mean(((want[f] - centre) ** 2, w) for _, want, w in rows))
    return sum(found) / F


def binary(rows):
    return mean(
        ((a > 0) == (b > 0.5), w) for row, want, w in rows for a, b in zip(row, want, strict=True)
    )


OF_CLASSES = {
    "accuracy": (metrics.Accuracy(), accuracy),
    "top 2": (metrics.TopKAccuracy(k=2), top_2),
    "f1": (metrics.F1(), f1),
    "perplexity": (metrics.Perplexity(), perplexity),
}
OF_NUMBERS = {
    "binary": (metrics.BinaryAccuracy(), binary),
    "mae": (metrics.MeanAbsoluteError(), absolute),
    "rmse": (metrics.RootMeanSquaredError(), root_square),
    "r2": (metrics.R2(), r2),
}


def drawn(kind, dtype):
    """Return outputs, targets and weights; where the weight is 0 there is nonsense."""
    rng = np.random.default_rng(3)
    width = C if kind == "classes" else F
    outputs = rng.standard_normal((T, B, width)).astype(dtype)
    weights = rng.integers(0, 3, (T, B)).astype(dtype)
    if kind == "classes":
        targets = rng.integers(0, C, (T, B))
        targets[weights == 0] = 77
    else:
        targets = (100 + rng.integers(0, 2, (T, B, F)) + 0.25 * outputs).astype(dtype)
        targets[weights == 0] = np.nan
        targets -= 100
    outputs[weights == 0] = np.nan
    return outputs, targets, weights


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_metrics_over_batches_are_those_of_all_steps(backend, dtype, kind, record):
    if backend.shapes_only or not backend.reads:
        pytest.skip("not run: a metric is read, and this backend has no values to read")
    arrays = drawn(kind, dtype)
    put = [backend.put(a) for a in arrays]
    allowed = 64 if kind == "numbers" else 16
    for name, (metric, oracle) in (OF_CLASSES if kind == "classes" else OF_NUMBERS).items():
        want = oracle(steps(*(a.astype("float64") if a.dtype == dtype else a for a in arrays)))
        whole = metric(put[0], put[1], weights=put[2])
        parts = [
            backend.get(metric.measure(*(a[:, s, ...] for a in put[:2]), weights=put[2][:, s]))
            for s in (slice(0, 2), slice(2, 5))
        ]
        batched = metric.combine(np.stack([p.astype("float64") for p in parts]))
        eps = float(np.finfo(dtype).eps)
        worst = max(abs(got - want) / (eps * max(1.0, abs(want))) for got in (whole, batched))
        record("none", "metrics", name, T, worst, allowed)
        assert worst <= allowed, (name, whole, batched, want)


def test_metrics_in_training_and_evaluation_are_those_of_the_outputs(backend):
    if backend.shapes_only or not backend.reads:
        pytest.skip("not run: training reads the loss, and this backend has no values to read")
    dtype, rng = backend.dtypes[0], np.random.default_rng(0)
    x, targets = rng.standard_normal((T, B, 2)).astype(dtype), rng.integers(0, C, (T, B))
    model = prnn.RNN(2, 4, C)
    params = {name: backend.put(p) for name, p in model.init(seed=0, dtype=dtype).items()}
    lengths = [4, 2, 3, 4, 1]
    source = prnn.batches.Shuffled(
        backend.put(x), backend.put(targets), batch_size=2, lengths=lengths
    )
    options = {"metrics": {"right": "accuracy", "all": metrics.TopKAccuracy(k=C)}}
    found = prnn.training.evaluate(model, params, source, **options)
    outputs = backend.get(prnn.predict(model, params, backend.put(x)))
    valid = np.arange(T)[:, None] < np.asarray(lengths)
    want = (outputs.argmax(axis=-1) == targets)[valid].mean()
    assert found["right"] == pytest.approx(want)
    assert found["all"] == 1.0
    run = prnn.training.train(model, params, source, steps=3, lr=0.0, log_every=3, **options)
    assert run.metrics["right"] == pytest.approx(want)  # three batches are an epoch
