"""Networks that read backwards: every function of one is that of the flipped sequences."""

from dataclasses import replace

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.losses import mean_squared_error

T, B, I, H, O = 6, 3, 4, 5, 2  # noqa: E741
RNG = np.random.default_rng(5)
X, TARGETS = RNG.standard_normal((T, B, I)), RNG.standard_normal((T, B, O))
LENGTHS = np.asarray([4, 6, 1])


def network(cell="lstm", **options):
    model = prnn.RNN(I, H, O, cell=cell, num_layers=2, reverse=True, **options)
    return model, replace(model, reverse=False), model.init(seed=1, dtype="float64")


def flipped(array, axis=0):
    """Return an array with the valid steps of each sequence in the opposite order."""
    found = np.moveaxis(array.copy(), axis, 0)
    for b, length in enumerate(LENGTHS):
        found[:length, b] = found[:length, b][::-1]
    return np.moveaxis(found, 0, axis)


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-15)


def all_close(got, want):
    assert got.keys() == want.keys()
    for name, array in got.items():
        close(array, want[name])


@pytest.mark.parametrize("executor", ["eager", "auto"])
@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
@pytest.mark.parametrize("checkpoint_every", [None, 2])
def test_gradients_are_those_of_flipped_sequences(cell, executor, checkpoint_every):
    model, forwards, params = network(cell)
    given = {"loss": mean_squared_error, "lengths": LENGTHS, "checkpoint_every": checkpoint_every}
    with prnn.executors.use(executor):
        got = prnn.bptt(model, params, X, TARGETS, **given)
        want = prnn.bptt(forwards, params, flipped(X), flipped(TARGETS), **given)
    close(got.loss, want.loss)
    all_close(got.grads, want.grads)
    close(flipped(got.outputs), want.outputs)
    close(flipped(got.grad_x), want.grad_x)
    close(got.state, want.state)
    close(got.grad_state, want.grad_state)


def test_derivatives_are_those_of_flipped_sequences():
    model, forwards, params = network()
    vector = model.init(seed=2, dtype="float64")
    given = {"lengths": LENGTHS}
    got = prnn.jvp(model, params, X, d_params=vector, d_x=X, **given)
    want = prnn.jvp(forwards, params, flipped(X), d_params=vector, d_x=flipped(X), **given)
    close(flipped(got.d_outputs), want.d_outputs)
    given["loss"] = mean_squared_error
    here, there = (model, params, X, TARGETS), (forwards, params, flipped(X), flipped(TARGETS))
    for product in (prnn.hvp, prnn.gauss_newton_product):
        all_close(product(*here, vector, **given), product(*there, vector, **given))
    found = prnn.per_example_gradients
    all_close(found(*here, **given), found(*there, **given))


def test_the_flow_of_gradients_is_that_of_flipped_sequences():
    model, forwards, params = network()
    given = {"loss": mean_squared_error, "by_loss_step": True, "arrays": True, "iterations": 150}
    x, targets = X[:, 1:2], TARGETS[:, 1:2]  # which has all steps
    got = prnn.gradient_flow(model, params, x, targets, **given)
    want = prnn.gradient_flow(forwards, params, x[::-1], targets[::-1], **given)
    close(got.grad_h[::-1], want.grad_h)
    close(got.grad_c[::-1], want.grad_c)
    close(got.d_h_by_loss_step[::-1, ::-1], want.d_h_by_loss_step)
    np.testing.assert_allclose(got.jacobian[::-1], want.jacobian, rtol=0.02)
    all_close({name: array[::-1] for name, array in got.arrays.items()}, want.arrays)
    assert got.reverse == (True, True)
    assert want.reverse == (False, False)


@pytest.mark.parametrize("pool", ["last", "mean", "max"])
def test_a_pool_is_that_of_flipped_sequences(pool):
    model, forwards, params = network(pool=pool)
    got = prnn.predict(model, params, X, lengths=LENGTHS)
    close(got, prnn.predict(forwards, params, flipped(X), lengths=LENGTHS))


def test_dropout_between_layers_is_in_the_order_of_the_steps():
    model, forwards, params = network("gru", dropout=0.5, recurrent_dropout=0.5, zoneout=0.3)
    masks = prnn.dropout.draw(model, X, 3)
    back = masks._replace(
        between=tuple(flipped(factors) for factors in masks.between),
        update=tuple(tuple(flipped(u) for u in update) for update in masks.update),
    )
    given = {"loss": mean_squared_error, "lengths": LENGTHS}
    got = prnn.bptt(model, params, X, TARGETS, dropout=masks, **given)
    want = prnn.bptt(forwards, params, flipped(X), flipped(TARGETS), dropout=back, **given)
    all_close(got.grads, want.grads)


def test_the_reversed_half_of_a_bidirectional_network_reads_backwards():
    both = prnn.RNN(I, H, cell="gru", bidirectional=True)
    params = both.init(seed=3, dtype="float64")
    own = {n.removesuffix("_reverse"): a for n, a in params.items() if n.endswith("_reverse")}
    alone = prnn.predict(prnn.RNN(I, H, cell="gru", reverse=True), own, X, lengths=LENGTHS)
    close(prnn.predict(both, params, X, lengths=LENGTHS)[..., H:], alone)


@pytest.mark.parametrize("form", ["mask", "padded"])
def test_padding_and_gaps_are_passed_over(form):
    model, _, params = network()
    mask = np.ones((T, B), dtype=bool)
    mask[2] = mask[4] = False
    given = {"mask": mask} if form == "mask" else {"lengths": [4, 4, 4]}
    x = X.copy() if form == "mask" else np.concatenate([X[mask[:, 0]], X[:2]])
    x[~mask if form == "mask" else slice(4, None)] = np.nan
    found = prnn.predict(model, params, x, **given)
    alone = prnn.predict(model, params, X[mask[:, 0]])
    close(found[mask[:, 0]] if form == "mask" else found[:4], alone)


def test_a_description_of_before_is_read_as_one_that_reads_forwards():
    model, forwards, _ = network()
    assert prnn.RNN(**model.to_dict()) == model
    old = forwards.to_dict()
    del old["reverse"]
    assert prnn.RNN(**old) == forwards


def test_both_options_at_once_and_other_values_are_refused():
    with pytest.raises(ValueError, match="reverse, bidirectional: expected one of them, got both"):
        prnn.RNN(I, H, reverse=True, bidirectional=True)
    with pytest.raises(TypeError, match="reverse: expected True or False, got 'yes'"):
        prnn.RNN(I, H, reverse="yes")


@pytest.mark.parametrize(
    "call",
    [
        lambda model, params: prnn.stream(model, params),
        lambda model, params: prnn.truncated_bptt(model, params, X, TARGETS, k1=2, k2=3),
    ],
    ids=["stream", "truncated"],
)
def test_what_cuts_time_is_refused(call):
    model, _, params = network()
    with pytest.raises(ValueError, match=r"expected the forward direction for .*got reverse=True"):
        call(model, params)
