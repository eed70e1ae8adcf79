"""Connectionist temporal classification: what it refuses, its second derivatives, and training."""

from functools import partial

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.losses import ctc, ctc_greedy_decode

T, B, C, I, H = 8, 3, 4, 2, 5  # noqa: E741
RNG = np.random.default_rng(0)
OUTPUTS = RNG.normal(size=(T, B, C))
LABELS = np.asarray([[1, 2, 2], [3, -1, -1], [-1, -1, -1]])


def changed(**given):
    return lambda: ctc(**{"outputs": OUTPUTS, "targets": LABELS} | given)


@pytest.mark.no_products
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (changed(outputs=OUTPUTS[0, 0]), ValueError, r"outputs: .*\(T, B, C\).*got \(4,\)"),
        (changed(outputs=OUTPUTS[:0]), ValueError, r"outputs: .*got \(0, 3, 4\)"),
        (changed(targets=LABELS + 0.5), TypeError, "targets: .*integer.*got float64"),
        (changed(targets=LABELS[:2]), ValueError, r"targets: .*\(3, L\).*got \(2, 3\)"),
        (changed(targets=LABELS[:, :0]), ValueError, r"targets: .*padded with -1.*got \(3, 0\)"),
        (changed(targets=LABELS[0]), ValueError, r"targets: .*\(3, L\).*got \(3,\)"),
        (changed(targets=LABELS.T[None]), ValueError, "targets: "),
        (changed(batch_first=True), ValueError, r"targets: .*\(8, L\)"),
        (changed(targets=LABELS * 2), ValueError, "targets: .*0 to 3.*got 4$"),
        (changed(blank=2), ValueError, "targets: .*except the blank, 2, .*got 2$"),
        (changed(targets=LABELS[:, ::-1]), ValueError, "targets: .*then padding, got -1$"),
        (changed(blank=4), ValueError, "blank: .*got 4"),
        (changed(blank=-1), ValueError, "blank: .*got -1"),
        (changed(weights=np.ones((T, B))), TypeError, "weights: expected booleans.*got float64"),
        (changed(weights=np.ones((B, T), bool)), ValueError, r"weights: .*\(8, 3\)"),
        (changed(input_lengths=[9, 1, 1]), ValueError, "input_lengths: .*0 to 8 steps.*got 9"),
        (changed(target_lengths=[4, 1, 1]), ValueError, "target_lengths: .*0 to 3 labels.*got 4"),
        (changed(target_lengths=[1.0, 1.0, 1.0]), TypeError, "target_lengths: .*got dtype float64"),
        (changed(zero_infinity=1), TypeError, "zero_infinity: "),
        (changed(reduction="none"), ValueError, "reduction: "),
        (lambda: ctc_greedy_decode(OUTPUTS, blank=7), ValueError, "blank: .*got 7"),
        (lambda: ctc_greedy_decode(OUTPUTS[0, 0]), ValueError, "outputs: "),
    ],
)
def test_a_wrong_argument_is_refused_by_name(call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        call()


@pytest.mark.no_products
def test_labels_under_jit_cannot_be_checked_and_say_so():
    jax = pytest.importorskip("jax")
    call = jax.jit(partial(ctc, check_targets=True))
    with pytest.raises(ValueError, match=r"^check_targets: "):
        call(jax.numpy.asarray(OUTPUTS), jax.numpy.asarray(LABELS))


@pytest.mark.no_products
def test_one_sequence_needs_no_axis_of_the_batch():
    value, slope = ctc(OUTPUTS[:, 0], LABELS[0], weights=np.arange(T) < 6)
    want, want_slope = ctc(OUTPUTS[:, :1], LABELS[:1], input_lengths=[6])
    assert value == want
    np.testing.assert_array_equal(slope, want_slope[:, 0])
    assert ctc_greedy_decode(OUTPUTS[:, 0]).shape == (T,)


@pytest.mark.no_products
def test_decoded_labels_of_batches_first_are_those_of_steps_first():
    found = ctc_greedy_decode(np.swapaxes(OUTPUTS, 0, 1), input_lengths=[8, 5, 2], batch_first=True)
    np.testing.assert_array_equal(found.T, ctc_greedy_decode(OUTPUTS, input_lengths=[8, 5, 2]))


@pytest.mark.no_products
def test_a_sequence_without_steps_does_not_count():
    kept = ctc(OUTPUTS[:, :2], LABELS[:2])
    found = ctc(OUTPUTS, np.abs(LABELS), target_lengths=[3, 1, 2], input_lengths=[T, T, 0])
    assert found[0] == kept[0]
    np.testing.assert_array_equal(found[1][:, :2], kept[1])
    assert not found[1][:, 2].any()
    value, slope = ctc(OUTPUTS, LABELS, input_lengths=[0] * B)
    assert np.isnan(value)
    assert not slope.any()


@pytest.mark.no_products
def test_a_class_of_probability_0_may_make_labels_impossible():
    outputs = OUTPUTS.copy()
    outputs[..., 3] = -np.inf
    value, slope = ctc(outputs[:, ::2], LABELS[::2])
    assert np.isfinite(value)
    np.testing.assert_array_equal(slope[..., 3], 0.0)
    value, slope = ctc(outputs, LABELS)
    assert value == np.inf
    assert np.isnan(slope[:, 1]).all()
    assert np.isfinite(slope[:, ::2]).all()


@pytest.mark.no_products
def test_a_nan_reaches_its_own_sequence_only():
    outputs = OUTPUTS.copy()
    outputs[3, 1, 2] = np.nan
    value, slope = ctc(outputs, LABELS)
    assert np.isnan(value)
    assert list(np.isnan(slope).any(axis=(0, 2))) == [False, True, False]


@pytest.mark.no_products
def test_errors_do_not_grow_with_the_steps_in_float32():
    """Without the shift at each step, the gradient would be off by 0.01."""
    rng = np.random.default_rng(6)
    outputs = rng.normal(size=(2000, 2, 20)).astype(np.float32)
    labels = rng.integers(1, 20, (2, 60))
    lengths = {"input_lengths": [2000, 1700], "target_lengths": [60, 40]}
    value, slope = ctc(outputs, labels, reduction="sum", **lengths)
    want, want_slope = ctc(outputs.astype(np.float64), labels, reduction="sum", **lengths)
    assert abs(value / want - 1.0) < 4 * np.finfo(np.float32).eps
    assert np.abs(slope - want_slope).max() < 5e-4


@pytest.mark.parametrize("product", [prnn.hvp, prnn.gauss_newton_product])
def test_second_derivatives_are_slopes_of_the_gradient(product):
    model = prnn.RNN(I, H, C)
    params, vector = (model.init(seed=seed, dtype="float64") for seed in (0, 1))
    x, lengths = RNG.normal(size=(T, B, I)), [8, 5, 2]
    found = product(model, params, x, LABELS, vector, loss=ctc, lengths=lengths)
    moved = prnn.jvp(model, params, x, d_params=vector, lengths=lengths)

    def gradient(step):
        if product is prnn.hvp:
            there = {name: p + step * vector[name] for name, p in params.items()}
            return prnn.bptt(model, there, x, LABELS, loss=ctc, lengths=lengths).grads
        fwd = prnn.forward(model, params, x, lengths=lengths)
        outputs = fwd.outputs + step * moved.d_outputs
        _, d_outputs = ctc(outputs, LABELS, input_lengths=lengths)
        return prnn.backward(model, params, fwd.tape, d_outputs).params

    up, down = gradient(1e-5), gradient(-1e-5)
    for name, array in found.items():
        np.testing.assert_allclose(array, (up[name] - down[name]) / 2e-5, rtol=1e-6, atol=1e-9)


def test_a_trained_network_finds_labels_whose_steps_it_was_not_told():
    """Sequences of different lengths, each of a few inputs in a row, with pauses between them."""
    rng, count, steps = np.random.default_rng(7), 48, 14
    x, lengths = np.zeros((steps, count, 3), np.float32), rng.integers(10, steps + 1, count)
    labels = rng.integers(1, 4, (count, 3))
    labels[::3, 2:] = -1
    for n in range(count):
        t = 0
        for label in labels[n][labels[n] > 0]:
            x[t : t + rng.integers(1, 3), n, label - 1] = 1.0
            t += 3
    model = prnn.RNN(3, 16, 4, cell="gru")
    source = prnn.batches.Shuffled(x, labels, batch_size=16, lengths=lengths)
    adam = prnn.optimizers.adam
    given = {"loss": ctc, "optimizer": adam, "lr": 0.03, "steps": 120, "max_norm": 1.0}
    run = prnn.training.train(model, model.init(seed=0), source, **given)
    assert prnn.training.evaluate(model, run.params, source, loss=ctc) < 0.1
    outputs = prnn.predict(model, run.params, x, lengths=lengths)
    found = ctc_greedy_decode(outputs, input_lengths=lengths)
    right = [
        list(found[:, n][found[:, n] >= 0]) == list(labels[n][labels[n] > 0]) for n in range(count)
    ]
    assert sum(right) > 0.9 * count
