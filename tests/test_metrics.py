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
