"""Edges of metrics; that they are right is shown by the suite."""

import math

import numpy as np
import pytest

from portable_rnn import metrics


def one_hot(*labels, classes=3):
    return np.eye(classes)[list(labels)]


def test_f1_leaves_out_classes_that_do_not_occur():
    found = metrics.F1()(one_hot(0, 0, 1), np.asarray([0, 1, 1]))
    assert found == pytest.approx((2 / 3 + 2 / 3) / 2)
    weighted = metrics.F1(average="weighted")(one_hot(0, 0, 1, 2), np.asarray([0, 0, 0, 2]))
    assert weighted == pytest.approx((3 * 0.8 + 1 * 1.0) / 4)


@pytest.mark.parametrize(
    "metric",
    [metrics.Accuracy(), metrics.TopKAccuracy(), metrics.F1(), metrics.Perplexity()],
    ids=lambda metric: type(metric).__name__,
)
def test_a_metric_of_nothing_is_nan(metric):
    nothing = np.zeros(3, bool)
    assert math.isnan(metric(one_hot(0, 1, 2), np.asarray([9, 9, 9]), weights=nothing))


@pytest.mark.parametrize(
    "metric",
    [metrics.MeanAbsoluteError(), metrics.RootMeanSquaredError(), metrics.R2()],
    ids=lambda metric: type(metric).__name__,
)
def test_a_metric_of_no_numbers_is_nan(metric):
    assert math.isnan(metric(np.ones((3, 1)), np.full((3, 1), np.nan), weights=np.zeros(3)))


def test_the_first_of_equal_outputs_is_the_prediction_and_nan_is_none():
    outputs = np.asarray([[1.0, 1.0, 0.0], [np.nan, 2.0, 1.0]])
    assert metrics.Accuracy()(outputs, np.asarray([0, 1])) == 0.5


def test_labels_to_ignore_do_not_count():
    outputs, labels = one_hot(0, 1, 2), np.asarray([0, -100, 1])
    assert metrics.Accuracy(ignore_index=-100)(outputs, labels) == 0.5
    assert metrics.TopKAccuracy(k=1, ignore_index=-100)(outputs, labels) == 0.5
    assert metrics.F1(ignore_index=-100)(outputs, labels) == pytest.approx(1 / 3)
    want = math.exp(math.log(math.e + 2) - 0.5)
    assert metrics.Perplexity(ignore_index=-100)(outputs, labels) == pytest.approx(want)


def test_rows_are_targets_by_their_largest_entry():
    assert metrics.Accuracy()(one_hot(0, 1), np.asarray([[0.2, 0.1, 0.0], [0.5, 0.1, 0.0]])) == 0.5
    with pytest.raises(ValueError, match="BinaryAccuracy"):
        metrics.Accuracy()(np.ones((2, 1)), np.ones((2, 1)))


def test_r2_of_constant_targets_is_one_or_zero():
    constant = np.ones((3, 1))
    assert metrics.R2()(constant, constant) == 1.0
    assert metrics.R2()(constant + 1, constant) == 0.0


def test_r2_keeps_its_digits_far_from_zero():
    rng = np.random.default_rng(0)
    targets = (1e4 + rng.standard_normal((1000, 1))).astype(np.float32)
    outputs = targets + (0.1 * rng.standard_normal((1000, 1))).astype(np.float32)
    wide = targets.astype(np.float64)
    want = 1 - ((outputs - wide) ** 2).sum() / ((wide - wide.mean()) ** 2).sum()
    assert metrics.R2()(outputs, targets) == pytest.approx(want, rel=1e-3)


def test_perplexity_beyond_any_float_is_infinite():
    outputs = np.asarray([[2000.0, 0.0]])
    assert metrics.Perplexity()(outputs, np.asarray([1])) == math.inf


def test_a_prediction_of_nan_is_never_right():
    nothing, labels = np.full((4, 3), np.nan), np.arange(4)  # 3 is no class
    assert metrics.Accuracy()(nothing, labels) == 0.0
    assert metrics.Accuracy()(nothing, nothing) == 0.0
    assert metrics.TopKAccuracy(k=5)(nothing, labels) == 0.0
    assert metrics.TopKAccuracy(k=1)(np.asarray([[1.0, np.nan, 0.0]]), labels[:1]) == 0.0
    assert metrics.TopKAccuracy(k=2)(np.asarray([[1.0, np.nan, 0.0]]), labels[:1]) == 1.0
    no, known = np.zeros((2, 1)), np.asarray([[np.nan], [-1.0]])
    assert metrics.BinaryAccuracy()(known, no) == 0.5
    assert metrics.BinaryAccuracy()(no, known) == 0.5


def test_perplexity_of_half_precision_is_rounded_once():
    outputs, labels = np.zeros((20_000, 1000), np.float16), np.zeros(20_000, int)
    assert metrics.Perplexity()(outputs, labels) == pytest.approx(1000.0, rel=1e-5)
    weights = np.ones(20_000, np.float16)  # whose sum in float16 is 2048
    assert metrics.Perplexity()(outputs, labels, weights=weights) == pytest.approx(1000, rel=1e-5)
    rows = np.eye(1000, dtype=np.float16)[labels[:300]]
    assert metrics.Perplexity()(outputs[:300], rows) == pytest.approx(1000.0, rel=1e-5)


@pytest.mark.parametrize(
    "metric",
    [metrics.Accuracy, metrics.TopKAccuracy, metrics.F1, metrics.Perplexity],
    ids=lambda metric: metric.__name__,
)
def test_no_class_of_rows_can_be_ignored(metric):
    with pytest.raises(ValueError, match=r"^ignore_index: expected class indices"):
        metric(ignore_index=0)(one_hot(0, 1), one_hot(0, 1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_r2_of_targets_that_are_equal_but_not_their_rounded_mean_is_zero(dtype):
    constant = np.full((1000, 1), 0.1, dtype)
    assert metrics.R2()(2 * constant, constant) == 0.0
    parts = [metrics.R2().measure(2 * a, a) for a in (constant[:0], constant[:3], constant[:7])]
    assert metrics.R2().combine(np.stack(parts).astype(np.float64)) == 0.0


@pytest.mark.parametrize(
    ("dtype", "size"),
    [("float32", 1e-30), ("float32", 1e30), ("float64", 1e-250), ("float64", 1e250)],
)
def test_squares_of_errors_neither_overflow_nor_vanish(dtype, size):
    arrays = [
        (np.asarray(a)[:, None] * size).astype(dtype) for a in ([1.5, 2.0, 5.0], [1.0, 2.0, 3.0])
    ]
    root = size * math.sqrt(4.25 / 3)
    for metric, want in ((metrics.RootMeanSquaredError(), root), (metrics.R2(), -1.125)):
        close = pytest.approx(want, rel=1e-6, abs=0)
        assert metric(*arrays) == close
        parts = [metric.measure(*(a[part] for a in arrays)) for part in (slice(1), slice(1, 3))]
        assert metric.combine(np.stack(parts).astype(np.float64)) == close
