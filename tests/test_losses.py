"""Losses against sums in 50 digits, and their edge cases."""

import mpmath
import numpy as np
import pytest
from conformance.tolerances import assert_close

import portable_rnn as prnn
from portable_rnn.losses import (
    binary_cross_entropy,
    mean_squared_error,
    one_hot,
    softmax_cross_entropy,
)

T, B, C = 3, 2, 4
OUTPUTS = 3.0 * np.random.default_rng(0).standard_normal((T, B, C))
LABELS = np.asarray([[0, 3], [2, 2], [1, 0]])
ROWS = np.random.default_rng(1).uniform(0.0, 2.0, (T, B, C))  # of any sum
FACTORS = np.asarray([0.5, 2.0, 0.0, 1.25])
WEIGHTS = np.asarray([[1.0, 0.0], [0.25, 3.0], [1.0, 2.0]])
MASK = WEIGHTS > 0.5


def exact(outputs, term, count=1.0):
    """Return Σ term(o, t, b) / count and its gradient, both by mpmath at 50 digits."""
    with mpmath.workdps(50):
        h = mpmath.mpf(10) ** -18  # central differences err by h², 1e-36

        def value(t, b, moved=None, by=0):
            return term(
                [mpmath.mpf(float(o)) + by * (k == moved) for k, o in enumerate(outputs[t, b])],
                t,
                b,
            )

        gradient = np.zeros(outputs.shape)
        for t, b, k in np.ndindex(*outputs.shape):
            gradient[t, b, k] = (value(t, b, k, h) - value(t, b, k, -h)) / (2 * h) / count
        total = mpmath.fsum(value(t, b) for t, b in np.ndindex(*outputs.shape[:-1]))
        return np.asarray(float(total / count)), gradient


def log_softmax(o, k):
    return o[k] - mpmath.log(mpmath.fsum(map(mpmath.exp, o)))


def check(got, want, what):
    value, d_outputs = got
    assert value.shape == ()
    assert_close(value, want[0], f"value of {what}", k=8)
    assert_close(d_outputs, want[1], f"d_outputs of {what}", k=8)


def reduced(want, reduction, weight):
    return want if reduction == "sum" else (want[0] / weight, want[1] / weight)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weights", [None, WEIGHTS, MASK], ids=["all", "weights", "mask"])
def test_weights_of_steps(weights, reduction):
    w = np.ones((T, B)) if weights is None else weights.astype(np.float64)
    options = {"weights": weights, "reduction": reduction}
    for targets, y in ((LABELS, np.eye(C)[LABELS]), (ROWS, ROWS)):
        want = exact(
            OUTPUTS,
            lambda o, t, b, y=y: -w[t, b] * sum(y[t, b, k] * log_softmax(o, k) for k in range(C)),
        )
        got = softmax_cross_entropy(OUTPUTS, targets, **options)
        check(got, reduced(want, reduction, w.sum()), "softmax")

    want = exact(
        OUTPUTS, lambda o, t, b: w[t, b] * sum((o[k] - ROWS[t, b, k]) ** 2 for k in range(C))
    )
    got = mean_squared_error(OUTPUTS, ROWS, **options)
    check(got, reduced(want, reduction, w.sum() * C), "squares")

    def logistic(o, t, b):
        p = [1 / (1 + mpmath.exp(-value)) for value in o]
        y = ROWS[t, b] / 2.0
        return -w[t, b] * sum(
            y[k] * mpmath.log(p[k]) + (1 - y[k]) * mpmath.log(1 - p[k]) for k in range(C)
        )

    got = binary_cross_entropy(OUTPUTS, ROWS / 2.0, **options)
    check(got, reduced(exact(OUTPUTS, logistic), reduction, w.sum() * C), "logits")


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3, 1.0])
def test_class_weights_smoothing_and_ignored_labels(smoothing, reduction):
    """Written out: a smoothed one-hot row, times factors, of the steps that count."""
    ignored = LABELS == 3
    y = (1.0 - smoothing) * np.eye(C)[LABELS] + smoothing / C
    y = y * FACTORS * np.where(ignored, 0.0, WEIGHTS)[..., None]
    want = exact(OUTPUTS, lambda o, t, b: -sum(y[t, b, k] * log_softmax(o, k) for k in range(C)))
    got = softmax_cross_entropy(
        OUTPUTS,
        LABELS,
        weights=WEIGHTS,
        class_weights=FACTORS,
        ignore_index=3,
        label_smoothing=smoothing,
        reduction=reduction,
    )
    met = (FACTORS[LABELS] * np.where(ignored, 0.0, WEIGHTS)).sum()
    check(got, reduced(want, reduction, met), "softmax with all options")


def test_smoothing_and_factors_of_rows():
    """A row keeps its sum when it is smoothed; "mean" divides by the steps, as torch does."""
    y = (0.8 * ROWS + 0.2 * ROWS.sum(axis=-1, keepdims=True) / C) * FACTORS
    want = exact(OUTPUTS, lambda o, t, b: -sum(y[t, b, k] * log_softmax(o, k) for k in range(C)))
    got = softmax_cross_entropy(OUTPUTS, ROWS, class_weights=FACTORS, label_smoothing=0.2)
    check(got, reduced(want, "mean", T * B), "softmax of rows")


def test_ignored_labels_may_be_any_number():
    labels = np.where(LABELS == 3, -100, LABELS)
    got = softmax_cross_entropy(OUTPUTS, labels, ignore_index=-100)
    want = softmax_cross_entropy(OUTPUTS, LABELS, weights=LABELS != 3)
    assert got[0] == want[0]
    assert np.array_equal(got[1], want[1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_logits_neither_overflow_nor_warn(dtype):
    """Warnings are errors here."""
    outputs = np.asarray([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]], dtype=dtype)
    value, d_outputs = softmax_cross_entropy(outputs, np.asarray([1, 2]), reduction="sum")
    assert_close(value, np.asarray(2e4 + np.log(3.0)), "softmax")
    assert_close(d_outputs, np.asarray([[1.0, -1.0, 0.0], [1 / 3, 1 / 3, -2 / 3]]), "d softmax")

    value, d_outputs = binary_cross_entropy(
        outputs, np.asarray([[0.0, 1.0, 0.5], [0.0, 0.0, 1.0]], dtype=dtype), reduction="sum"
    )
    assert_close(value, np.asarray(3e4 + np.log(2.0)), "logits")
    assert_close(d_outputs, np.asarray([[1.0, -1.0, 0.0], [0.0, 0.0, -1.0]]), "d logits")


@pytest.mark.parametrize(("logit", "target"), [(40.0, 1.0), (-40.0, 0.0)])
def test_a_confident_right_prediction_has_a_small_nonzero_loss(logit, target):
    """It is exp(-40), which 40 + exp(-40) - 40 would lose."""
    value, _ = binary_cross_entropy(np.asarray([[logit]]), np.asarray([[target]]))
    assert_close(value, np.asarray(np.exp(-40.0)), "value")


def test_an_unchecked_label_out_of_range_is_nan_not_a_wrong_number():
    for bad in (-1, C):
        labels = np.where(LABELS == 3, bad, LABELS)
        value, d_outputs = softmax_cross_entropy(OUTPUTS, labels, check_targets=False)
        assert np.isnan(value)
        value, d_outputs = softmax_cross_entropy(
            OUTPUTS, labels, check_targets=False, reduction="sum"
        )
        assert np.isnan(value)
        assert np.array_equal(np.isnan(d_outputs).all(axis=-1), labels == bad)


@pytest.mark.parametrize(("bad", "shown"), [(2.0, "0.0 to 2.0"), (-1e-6, "-1e-06 to 1.0")])
def test_a_target_that_is_no_probability_is_refused_where_it_counts(bad, shown):
    targets = np.where(LABELS[..., None] == np.arange(C), 1.0, 0.0)
    targets[1, 0, 2], targets[0, 0, 1] = bad, np.nan
    message = f"^targets: expected probabilities from 0 to 1, got values from {shown}$"
    for options in ({}, {"check_targets": True}, {"weights": np.ones((T, B))}):
        with pytest.raises(ValueError, match=message):
            binary_cross_entropy(OUTPUTS, targets, **options)
    assert np.isnan(binary_cross_entropy(OUTPUTS, targets, check_targets=False)[0])
    weights = np.ones((T, B))
    weights[1, 0] = weights[0, 0] = 0.0
    assert np.isfinite(binary_cross_entropy(OUTPUTS, targets, weights=weights)[0])
    targets[1, 0, 2] = 1.0
    assert np.isnan(binary_cross_entropy(OUTPUTS, targets)[0])  # NaN is seen in the loss


@pytest.mark.parametrize(
    ("value", "options", "hinted"),
    [(-100, {}, True), (-1, {}, True), (C, {}, False), (-100, {"ignore_index": -1}, False)],
)
def test_labels_that_other_libraries_ignore_hint_at_the_option(value, options, hinted):
    labels = LABELS.copy()
    labels[0] = value
    with pytest.raises(ValueError, match=r"^targets: expected class indices from 0 to") as raised:
        softmax_cross_entropy(OUTPUTS, labels, **options)
    hint = f"; to leave steps out, give ignore_index={value}"
    assert str(raised.value).endswith(hint) == hinted
    assert hinted or "ignore_index" not in str(raised.value)
    softmax_cross_entropy(OUTPUTS, labels, ignore_index=value)


@pytest.mark.parametrize("loss", [softmax_cross_entropy, mean_squared_error, binary_cross_entropy])
def test_the_mean_of_nothing_is_nan_its_sum_and_its_gradient_are_zero(loss):
    """Warnings are errors here."""
    nothing = np.zeros((T, B), dtype=np.bool_)
    value, d_outputs = loss(OUTPUTS, ROWS, weights=nothing)
    assert np.isnan(value)
    assert not d_outputs.any()
    value, d_outputs = loss(OUTPUTS, ROWS, weights=nothing, reduction="sum")
    assert value == 0.0
    assert not d_outputs.any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtypes_are_kept_and_inputs_are_not_written_to(dtype):
    outputs, rows = OUTPUTS.astype(dtype), ROWS.astype(dtype)
    given = [outputs, rows, LABELS.copy(), WEIGHTS.astype(dtype), FACTORS.astype(dtype)]
    for array in given:
        array.flags.writeable = False
    weights = given[3]
    found = [
        softmax_cross_entropy(outputs, given[2], weights=weights, class_weights=given[4]),
        softmax_cross_entropy(outputs, rows, weights=weights, label_smoothing=0.1),
        mean_squared_error(outputs, rows, weights=weights),
        binary_cross_entropy(outputs, rows / 2, weights=weights),
    ]
    for value, d_outputs in found:
        assert isinstance(value, np.ndarray)
        assert value.dtype == d_outputs.dtype == dtype
        assert d_outputs.shape == outputs.shape


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64"])
def test_one_hot_by_comparison(dtype):
    found = one_hot(np, np.asarray([0, 2, 3, 100], dtype=dtype), 3, np.float32)
    assert found.dtype == np.float32
    assert found.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]]


def test_one_hot_of_more_classes_than_the_labels_dtype_can_count():
    found = one_hot(np, np.asarray([127], dtype=np.int8), 300, np.float64)
    assert found.argmax() == 127
    assert found.sum() == 1.0


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "mean_squared_error"])
def test_half_precision_survives_more_steps_than_it_can_count(loss):
    """The largest float16 is 65504: no count or sum of 80,000 steps may be computed in it."""
    outputs = np.full((320, 250, 2), 0.5, dtype=np.float16)
    outputs[..., 1] = 0.0
    targets = np.zeros((320, 250), dtype=int) if "softmax" in loss else np.zeros_like(outputs)
    value, d_outputs = getattr(prnn.losses, loss)(outputs, targets)
    wide, d_wide = getattr(prnn.losses, loss)(
        outputs.astype(np.float64), targets.astype(float) if "mean" in loss else targets
    )
    assert value.dtype == d_outputs.dtype == np.float16
    np.testing.assert_allclose(float(value), float(wide), rtol=2e-3)
    np.testing.assert_allclose(d_outputs, d_wide, atol=2**-24)  # one step below the normal ones
    total, _ = getattr(prnn.losses, loss)(outputs[:100, :100], targets[:100, :100], reduction="sum")
    np.testing.assert_allclose(
        float(total), float(wide) * (1e4 if "soft" in loss else 2e4), rtol=2e-3
    )


def test_a_numpy_label_smoothing_does_not_widen():
    outputs = np.zeros((3, 4), dtype=np.float32)
    value, d_outputs = prnn.losses.softmax_cross_entropy(
        outputs, np.zeros(3, dtype=int), label_smoothing=np.float64(0.1)
    )
    assert value.dtype == d_outputs.dtype == np.float32


def test_rows_of_integers_are_told_from_labels():
    with pytest.raises(ValueError, match=r"got \(5, 2, 3\); rows are of the dtype of outputs$"):
        softmax_cross_entropy(np.zeros((5, 2, 3)), np.ones((5, 2, 3), int))


@pytest.mark.parametrize("label", [2**63, 2**64 - 1, 2**64 - 100])
def test_an_unsigned_label_is_never_padding(label):
    """It is no negative number, though its bits are those of one."""
    labels = np.asarray([[label, 1]], np.uint64)
    outputs = np.zeros((1, 2, 3))
    for ignored in (None, -1, -100):
        with pytest.raises(ValueError, match=r"^targets: .* values from 1 to \d+$"):
            softmax_cross_entropy(outputs, labels, ignore_index=ignored)
    with pytest.raises(ValueError, match=r"^targets: expected labels from 0 to 2"):
        prnn.losses.ctc(np.zeros((4, 1, 3)), labels)
