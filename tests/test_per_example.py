"""Gradients of single sequences: they sum to the gradient, and each is as computed alone."""

import tracemalloc

import numpy as np
import pytest
from conformance.tolerances import assert_close

import portable_rnn as prnn
from portable_rnn.losses import mean_squared_error

T, B, I, H, O = 7, 5, 3, 6, 2  # noqa: E741
CELLS = ("elman", "gru", "lstm")
OPTIONS = {
    "plain": {},
    "no_bias": {"bias": False},
    "no_readout": {"output_size": None},
    "batch_first": {"batch_first": True},
    "stacked": {"num_layers": 2, "bidirectional": True},
}


def problem(cell, options, steps=T, dtype="float64"):
    rng = np.random.default_rng(steps)
    if cell == "peephole_lstm":
        cell, options = prnn.cells.LSTM(peepholes=True), options | {"projection_size": 4}
    model = prnn.RNN(
        **{"input_size": I, "hidden_size": H, "output_size": O, "cell": cell} | options
    )
    params = model.init(seed=1, dtype=dtype)
    x = rng.standard_normal((steps, B, I)).astype(dtype)
    targets = rng.standard_normal((steps, B, model.feature_size)).astype(dtype)
    if model.batch_first:
        x, targets = np.moveaxis(x, 1, 0), np.moveaxis(targets, 1, 0)
    return model, params, x, targets


def hold(model, params, x, targets, **options):
    """Compare with one `bptt` after another, and the sum with that of the batch."""
    options = {"loss": mean_squared_error, "reduction": "sum"} | options
    each = prnn.per_example_gradients(model, params, x, targets, **options)
    norms = prnn.per_example_norms(model, params, x, targets, **options)
    whole = prnn.bptt(model, params, x, targets, **options).grads
    scale = np.max(np.abs(targets))
    total = np.zeros(B)
    for name, array in each.items():
        assert array.shape == (B, *params[name].shape)
        assert array.dtype == params[name].dtype
        assert_close(
            array.sum(axis=0), whole[name].astype("float64"), f"sum of {name}", scale=scale
        )
        found = np.linalg.norm(array.astype("float64").reshape(B, -1), axis=1)
        assert_close(norms.params[name], found, f"norms of {name}", scale=scale)
        total += found**2
    assert_close(norms.total, np.sqrt(total), "norms", scale=scale)
    return each


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("cell", [*CELLS, "reset_before_gru", "layer_norm_elman", "peephole_lstm"])
def test_each_is_what_it_would_be_alone(cell, options, dtype):
    model, params, x, targets = problem(cell, OPTIONS[options], dtype=dtype)
    each = hold(model, params, x, targets)
    for b in range(B):
        cut = (slice(b, b + 1),) if model.batch_first else (slice(None), slice(b, b + 1))
        alone = prnn.bptt(
            *(model, params, x[cut], targets[cut]), loss=mean_squared_error, reduction="sum"
        )
        for name, want in alone.grads.items():
            assert_close(each[name][b], want.astype("float64"), f"{name} of {b}", scale=10.0)


@pytest.mark.parametrize("options", ["plain", "stacked"])
@pytest.mark.parametrize("cell", CELLS)
def test_many_chunks_of_time(cell, options):
    hold(*problem(cell, OPTIONS[options], steps=600))


@pytest.mark.parametrize("options", ["plain", "batch_first", "stacked"])
@pytest.mark.parametrize("cell", CELLS)
def test_sequences_of_different_lengths(cell, options):
    model, params, x, targets = problem(cell, OPTIONS[options])
    lengths = np.asarray([3, 7, 0, 1, 5])
    each = hold(model, params, x, targets, lengths=lengths)
    assert all(np.all(array[2] == 0.0) for array in each.values())
    there = np.arange(T)[:, None] < lengths
    masked = hold(model, params, x, targets, mask=there.T if model.batch_first else there)
    for name, array in each.items():
        np.testing.assert_array_equal(array, masked[name])
    for b, length in enumerate(lengths):
        if length == 0:
            continue
        cut = (
            (slice(b, b + 1), slice(length))
            if model.batch_first
            else (slice(length), slice(b, b + 1))
        )
        alone = prnn.bptt(
            *(model, params, x[cut], targets[cut]), loss=mean_squared_error, reduction="sum"
        )
        for name, want in alone.grads.items():
            assert_close(each[name][b], want, f"{name} of {b}", scale=10.0)


def test_state_and_mean_and_no_batch():
    model, params, x, targets = problem("gru", {})
    state = np.ones((1, B, H))
    hold(model, params, x, targets, state=state, reduction="mean")
    lone = prnn.per_example_gradients(
        model, params, x[:, 2], targets[:, 2], loss=mean_squared_error
    )
    want = prnn.bptt(model, params, x[:, 2], targets[:, 2], loss=mean_squared_error).grads
    for name, array in lone.items():
        assert array.shape == (1, *params[name].shape)
        np.testing.assert_allclose(array[0], want[name], rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("cell", CELLS)
def test_norms_by_products_of_steps(cell):
    """Few steps and large weights: the other way to the norms, and the same norms."""
    model, params, _, targets = problem(cell, {"input_size": 40, "hidden_size": 32}, steps=3)
    rng = np.random.default_rng(0)
    hold(model, params, rng.standard_normal((3, B, 40)), targets)
    small = prnn.per_example_norms(
        *(model, params, rng.standard_normal((3, B, 40)), 1e-200 + 0 * targets),
        loss=lambda o, t: (np.sum(o * t), t),
    )
    assert np.all(small.total > 1e-201)


@pytest.mark.no_products
def test_norms_take_less_memory_than_gradients():
    model = prnn.RNN(64, 128, cell="lstm")
    params = model.init(seed=0)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 16, 64)).astype(np.float32)
    targets = rng.standard_normal((200, 16, 128)).astype(np.float32)
    peaks = {}
    for f in (prnn.bptt, prnn.per_example_norms, prnn.per_example_gradients):
        tracemalloc.start()
        f(model, params, x, targets, loss=mean_squared_error)
        peaks[f.__name__] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    each = 16 * sum(array.nbytes for array in params.values())
    pre = 200 * 16 * 4 * 128 * 4  # the cotangents of all steps, which bptt does not keep
    assert peaks["per_example_norms"] < peaks["bptt"] + 1.5 * pre
    assert peaks["per_example_gradients"] > each


def test_bad_input():
    model, params, x, targets = problem("elman", {})
    given = {"loss": mean_squared_error}
    for f in (prnn.per_example_gradients, prnn.per_example_norms):
        with pytest.raises(ValueError, match="targets: expected shape"):
            f(model, params, x, targets[1:], **given)
        with pytest.raises(ValueError, match="lengths: expected 5 ints"):
            f(model, params, x, targets, lengths=[1, 2], **given)
        with pytest.raises(ValueError, match="lengths: expected 1 ints"):
            f(model, params, x[:, 0], targets[:, 0], lengths=[1, 2], **given)
        with pytest.raises(ValueError, match="params: missing"):
            f(model, {}, x, targets, **given)
        with pytest.raises(TypeError, match="x: expected an array"):
            f(model, params, [1.0], targets, **given)


def test_lengths_and_a_mask_are_not_taken_together():
    model = prnn.RNN(1, 2, 3)
    x, labels = np.zeros((4, 2, 1), np.float32), np.zeros((4, 2), np.int64)
    both = {"lengths": [4, 2], "mask": np.ones((4, 2), dtype=bool)}
    with pytest.raises(ValueError, match=r"^lengths, mask: expected one of them, got both"):
        prnn.per_example_norms(model, model.init(seed=0), x, labels, **both)
