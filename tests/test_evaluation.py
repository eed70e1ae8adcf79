"""The mean loss over batches of any composition, and what counts in it."""

import functools
import warnings

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.batches import Shuffled
from portable_rnn.training import evaluate, train

from .runs import MODEL, parity, ragged, same, source

ignoring = functools.partial(prnn.losses.softmax_cross_entropy, ignore_index=1)


def ragged_source(padding=0.0, **options):
    x, labels = parity()
    lengths = np.random.default_rng(1).integers(0, 7, x.shape[1])
    there = np.arange(6)[:, None] < lengths
    x = np.where(there[..., None], x, np.float32(padding))
    labels = np.where(there, labels, -1)
    given = {"batch_size": 16, "seed": 3, "lengths": lengths} | options
    return Shuffled(x, labels, **given), x, labels, lengths


def test_training_and_evaluation_do_not_see_padding():
    start = MODEL.init(seed=0)
    runs = []
    for padding in (0.0, np.nan):
        data = ragged_source(padding)[0]
        run = train(MODEL, start, data, steps=60, lr=0.02, validation=data)
        runs.append((run.evaluation, run.params))
    assert runs[0][0] == runs[1][0] < evaluate(MODEL, start, data)
    assert same(runs[0][1], runs[1][1])


def test_an_evaluation_of_ragged_batches_is_the_mean_over_all_steps():
    data, x, labels, lengths = ragged_source()
    params = MODEL.init(seed=0, dtype="float32")
    outputs = prnn.predict(MODEL, params, x, lengths=lengths)
    there = np.arange(6)[:, None] < lengths
    want, _ = prnn.losses.softmax_cross_entropy(outputs, np.where(there, labels, 0), weights=there)
    assert evaluate(MODEL, params, data) == pytest.approx(float(want), rel=1e-6)


def test_weights_and_lengths_of_a_batch_go_together():
    x, labels = parity()
    lengths = np.arange(64) % 7
    weights = np.random.default_rng(0).random(labels.shape, dtype=np.float32)
    source = Shuffled(x, labels, weights=weights, lengths=lengths, batch_size=64)
    there = np.arange(6)[:, None] < lengths
    outputs = prnn.predict(MODEL, MODEL.init(seed=0), x, lengths=lengths)
    want, _ = prnn.losses.softmax_cross_entropy(outputs, labels, weights=weights * there)
    assert evaluate(MODEL, MODEL.init(seed=0), source) == pytest.approx(float(want), rel=1e-5)


def test_evaluation_counts_what_the_weights_count():
    """However sequences are batched; some batches may count for nothing."""
    params = MODEL.init(seed=0)
    x, labels = parity()
    weights = np.zeros(labels.shape, dtype=np.float32)
    weights[:4, :20] = 1.0
    whole, _ = prnn.losses.softmax_cross_entropy(
        prnn.predict(MODEL, params, x), labels, weights=weights
    )
    with warnings.catch_warnings():  # NumPy warns of the mean of a batch that counts for nothing
        warnings.simplefilter("ignore", RuntimeWarning)
        for batch_size in (1, 7, 64):
            data = Shuffled(x, labels, weights=weights, batch_size=batch_size)
            assert evaluate(MODEL, params, data) == pytest.approx(float(whole), rel=1e-5)


def test_an_evaluation_whose_weights_cancel_is_nan():
    x, labels = parity(count=4)
    weights = np.repeat(np.asarray([[1.0, 1.0, -1.0, -1.0]], np.float32), len(x), axis=0)
    data = Shuffled(x, labels, weights=weights, batch_size=1)
    assert np.isnan(evaluate(MODEL, MODEL.init(seed=0), data))


def test_evaluation_is_the_mean_over_everything():
    params = MODEL.init(seed=0)
    x, labels = parity()
    whole, _ = prnn.losses.softmax_cross_entropy(prnn.predict(MODEL, params, x), labels)
    for batch_size in (64, 16, 10):
        value = evaluate(MODEL, params, source(batch_size=batch_size))
        assert value == pytest.approx(float(whole), rel=1e-5)


def test_labels_that_are_all_ignored_count_for_nothing():
    x, labels = parity(count=4)
    labels[:, 1:3] = 1  # ignored labels
    whole = Shuffled(x, labels, batch_size=1)
    run = train(MODEL, MODEL.init(seed=0), whole, steps=4, loss=ignoring)
    assert np.isfinite(run.loss)
    counted = Shuffled(x[:, [0, 3]], labels[:, [0, 3]], batch_size=1)
    found = evaluate(MODEL, run.params, whole, loss=ignoring)
    assert found == pytest.approx(evaluate(MODEL, run.params, counted, loss=ignoring), rel=1e-6)
    nothing = Shuffled(x, np.ones_like(labels), batch_size=3)
    assert np.isnan(evaluate(MODEL, run.params, nothing, loss=ignoring))
    assert np.isnan(evaluate(MODEL, run.params, ragged([0, 0])))


def test_an_evaluation_counts_more_weights_than_half_precision_can():
    model = prnn.RNN(1, 2, 2)
    x = np.zeros((100, 700, 1), dtype=np.float16)
    weights = np.ones((100, 700), dtype=np.float16)
    halves = Shuffled(x, np.zeros((100, 700), dtype=int), batch_size=700, weights=weights)
    assert np.isfinite(evaluate(model, model.init(seed=0, dtype="float16"), halves))


def test_evaluation_checks_a_loss_as_training_does():
    for loss, message in (
        (None, "loss: expected a callable, got NoneType"),
        (lambda outputs: None, "loss: expected a callable .*got one that takes"),
        (lambda outputs, targets: None, r"loss: expected it to return \(value, d_outputs\)"),
        (lambda outputs, targets: (None, outputs), "value returned by the loss: expected"),
    ):
        with pytest.raises(TypeError, match=f"^{message}"):
            prnn.training.evaluate(MODEL, MODEL.init(seed=0), source(), loss=loss)
