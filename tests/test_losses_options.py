"""Options, edges and kinks of the losses of numbers, counts and distributions."""

import math

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn import losses
from portable_rnn.losses import (
    binary_focal_cross_entropy,
    cosine_distance,
    gaussian_nll,
    huber,
    kl_divergence,
    pinball,
    poisson_nll,
)

T, B, F = 5, 2, 4
RNG = np.random.default_rng(0)
OUTPUTS, ROWS = RNG.normal(size=(T, B, F)), RNG.uniform(0.0, 1.0, (T, B, F))
RIGHT = {
    huber: ROWS,
    pinball: ROWS,
    cosine_distance: ROWS,
    gaussian_nll: ROWS[..., :2],
    poisson_nll: ROWS,
    kl_divergence: ROWS,
    binary_focal_cross_entropy: ROWS,
}


@pytest.mark.no_products
@pytest.mark.parametrize(
    ("loss", "given", "error", "message"),
    [
        (huber, {"delta": 0.0}, ValueError, r"delta: expected .*above 0.*got 0\.0"),
        (huber, {"delta": "1"}, TypeError, "delta: "),
        (pinball, {"quantile": 1.0}, ValueError, r"quantile: .*got 1\.0"),
        (pinball, {"quantile": (0.5, 0.9)}, ValueError, "quantile: .*one, or 4 of them, got 2"),
        (pinball, {"quantile": [0.5, 0.9, "a", 0.1]}, TypeError, "quantile: "),
        (gaussian_nll, {"outputs": OUTPUTS[..., :3]}, ValueError, r"outputs: .*got .*\(5, 2, 3\)"),
        (gaussian_nll, {"targets": ROWS}, ValueError, r"targets: .*\(5, 2, 2\), got \(5, 2, 4\)"),
        (gaussian_nll, {"full": 1}, TypeError, "full: "),
        (poisson_nll, {"targets": ROWS - 0.5}, ValueError, "targets: expected counts of at least"),
        (poisson_nll, {"full": None}, TypeError, "full: "),
        (kl_divergence, {"targets": 2.0 * ROWS}, ValueError, "targets: .*from 0 to 1"),
        (kl_divergence, {"log_target": "no"}, TypeError, "log_target: "),
        (binary_focal_cross_entropy, {"gamma": -1.0}, ValueError, "gamma: "),
        (binary_focal_cross_entropy, {"alpha": 1.5}, ValueError, "alpha: "),
        (binary_focal_cross_entropy, {"targets": -ROWS}, ValueError, "targets: .*from 0 to 1"),
    ],
)
def test_a_wrong_option_is_refused_by_name(loss, given, error, message):
    with pytest.raises(error, match=f"^{message}"):
        loss(**{"outputs": OUTPUTS, "targets": RIGHT[loss]} | given)


@pytest.mark.no_products
@pytest.mark.parametrize("loss", RIGHT)
def test_an_unknown_option_a_wrong_shape_and_reduction_are_refused(loss):
    y = RIGHT[loss]
    with pytest.raises(TypeError, match=r"^colour: expected an option of"):
        loss(OUTPUTS, y, colour=1)
    with pytest.raises(ValueError, match=r"^targets: expected shape"):
        loss(OUTPUTS, y[:2])
    with pytest.raises(TypeError, match=r"^targets: expected dtype float64"):
        loss(OUTPUTS, y.astype(np.float32))
    with pytest.raises(ValueError, match=r"^reduction: "):
        loss(OUTPUTS, y, reduction="none")


@pytest.mark.no_products
def test_the_gradient_at_a_kink_is_the_one_that_is_documented():
    d = np.asarray([[-1.0, 1.0, 0.0]])
    np.testing.assert_array_equal(huber(d, 0.0 * d, reduction="sum")[1], d)
    value, slope = pinball(d, d, quantile=0.9, reduction="sum")
    assert value == 0.0
    assert not slope.any()


@pytest.mark.no_products
def test_huber_is_half_the_squares_and_the_median_half_the_absolute_difference():
    d = OUTPUTS - ROWS
    for delta, want in ((100.0, np.sum(d * d) / 2), (1e-9, 1e-9 * np.abs(d).sum())):
        value, _ = huber(OUTPUTS, ROWS, delta=delta, reduction="sum")
        np.testing.assert_allclose(value, want, rtol=1e-8)
    np.testing.assert_allclose(pinball(OUTPUTS, ROWS)[0], np.abs(d).mean() / 2, rtol=1e-14)


@pytest.mark.no_products
def test_a_minimum_of_pinball_is_the_quantile():
    sample = np.sort(RNG.normal(size=(99, 1)), axis=0)
    for quantile in (0.1, 0.5, 0.9):
        found = [
            pinball(np.full_like(sample, guess), sample, quantile=quantile)[0]
            for guess in sample[:, 0]
        ]
        assert np.argmin(found) == round(100 * quantile) - 1


@pytest.mark.no_products
@pytest.mark.parametrize("size", [1e-30, 1e-3, 1e3, 1e30])
def test_cosines_do_not_depend_on_the_length_of_rows(size):
    o, y = OUTPUTS.astype(np.float32), ROWS.astype(np.float32)
    want, slope = cosine_distance(o, y)
    value, far = cosine_distance(np.float32(size) * o, np.float32(size) * y)
    np.testing.assert_allclose(value, want, rtol=1e-6)
    np.testing.assert_allclose(np.float32(size) * far, slope, rtol=1e-4, atol=1e-6)


@pytest.mark.no_products
def test_the_distance_of_zeros_is_1_and_has_no_gradient():
    o, y = OUTPUTS.copy(), ROWS.copy()
    o[0], y[1] = 0.0, 0.0
    value, slope = cosine_distance(o, y, reduction="sum")
    rest, _ = cosine_distance(o[2:], y[2:], reduction="sum")
    np.testing.assert_allclose(value, 4.0 + rest, rtol=1e-14)
    assert not slope[:2].any()
    assert np.isfinite(slope).all()


@pytest.mark.no_products
def test_divergence_is_zero_where_a_softmax_agrees():
    p = np.exp(OUTPUTS) / np.exp(OUTPUTS).sum(-1, keepdims=True)
    for targets, logarithms in ((p, False), (np.log(p), True)):
        value, slope = kl_divergence(OUTPUTS, targets, log_target=logarithms)
        assert abs(value) < 1e-15
        np.testing.assert_allclose(slope, 0.0, atol=1e-15)
    masked = OUTPUTS.copy()
    masked[..., 1] = -np.inf
    y = np.where(np.isinf(masked), 0.0, 1.0 / 3.0)
    value, slope = kl_divergence(masked, y)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


@pytest.mark.no_products
def test_a_small_variance_does_not_overflow():
    outputs = np.asarray([[1e-20, -100.0]], dtype=np.float32)
    value, slope = gaussian_nll(outputs, np.zeros((1, 1), np.float32), full=True)
    z = 1e-20 * math.exp(50.0)
    np.testing.assert_allclose(value, -50.0 + z * z / 2 + math.log(2 * math.pi) / 2, rtol=1e-6)
    np.testing.assert_allclose(slope[0, 0], z * math.exp(50.0), rtol=1e-5)
    exact = np.asarray([[0.0, -200.0]], dtype=np.float32)  # whose precision is infinite
    value, slope = gaussian_nll(exact, exact[:, :1])
    assert value == -100.0
    np.testing.assert_array_equal(slope, [[0.0, 0.5]])


@pytest.mark.no_products
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_the_focal_loss_of_sure_logits_is_exact(gamma):
    right, wrong = np.asarray([[800.0, -800.0]]), np.asarray([[-800.0, 800.0]])
    y = np.asarray([[1.0, 0.0]])
    given = {"gamma": gamma, "reduction": "sum"}
    value, slope = binary_focal_cross_entropy(right, y, **given)
    assert value == 0.0
    assert not slope.any()
    value, slope = binary_focal_cross_entropy(wrong, y, **given)
    assert value == 1600.0
    np.testing.assert_array_equal(slope, [[-1.0, 1.0]])


@pytest.mark.no_products
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_focal_loss_of_the_other_target_is_its_mirror_image(dtype):
    outputs = np.asarray([[20.0, 5.0, -3.0]], dtype)
    for gamma in (0.0, 0.5, 2.0):
        one = binary_focal_cross_entropy(outputs, np.ones_like(outputs), gamma=gamma)
        other = binary_focal_cross_entropy(-outputs, np.zeros_like(outputs), gamma=gamma)
        assert one[0] == other[0]
        np.testing.assert_array_equal(one[1], -other[1])
        assert one[1].all()


def test_second_derivatives_of_pieces_are_slopes_of_the_gradient():
    model = prnn.RNN(3, 4, F)
    params, vector = (model.init(seed=seed, dtype="float64") for seed in (0, 1))
    x = RNG.normal(size=(T, B, 3))
    for loss in (huber, pinball):
        given = {"loss": loss, "reduction": "sum"}
        found = prnn.hvp(model, params, x, 3.0 * ROWS, vector, **given)
        up, down = (
            prnn.bptt(
                model, {n: p + s * vector[n] for n, p in params.items()}, x, 3.0 * ROWS, **given
            ).grads
            for s in (1e-6, -1e-6)
        )
        for name, array in found.items():
            slope = (up[name] - down[name]) / 2e-6
            np.testing.assert_allclose(array, slope, rtol=1e-6, atol=1e-7)
    found = prnn.gauss_newton_product(model, params, x, ROWS, vector, loss=pinball)
    assert not any(array.any() for array in found.values())


@pytest.mark.no_products
def test_half_precision_is_rounded_once():
    for loss, y in RIGHT.items():
        o, y = (1e-2 * OUTPUTS).astype(np.float16), y.astype(np.float16)
        value, slope = loss(o, y)
        want, want_slope = loss(o.astype(np.float32), y.astype(np.float32))
        assert value == np.float16(want)
        np.testing.assert_array_equal(slope, want_slope.astype(np.float16))


@pytest.mark.no_products
def test_every_loss_is_listed_in_order():
    assert losses.__all__ == sorted(losses.__all__)
