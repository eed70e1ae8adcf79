"""Optional parts of a step: a second product, a projected state, and own vectors of a cell."""

from dataclasses import replace

import numpy as np
import pytest
from conformance.complex_step import directional
from conformance.tolerances import assert_close

import portable_rnn as prnn
from portable_rnn._engine import bptt, chunks
from portable_rnn._engine.bptt import layer_vjp
from portable_rnn._executors import eager
from portable_rnn.cells import LSTM, ResetBeforeGRU

pytestmark = pytest.mark.usefixtures("short_chunks")

STEPS, BATCH, INPUTS, HIDDEN = 5, 3, 2, 4
MODELS = {
    "second product": prnn.RNN(INPUTS, HIDDEN, cell="reset_before_gru"),
    "second product, clipped": prnn.RNN(INPUTS, HIDDEN, cell=ResetBeforeGRU(clip=0.6)),
    "projected": prnn.RNN(INPUTS, HIDDEN, 2, cell="lstm", projection_size=3),
    "own": prnn.RNN(INPUTS, HIDDEN, cell="layer_norm_elman"),
    "own and projected": prnn.RNN(INPUTS, HIDDEN, cell="layer_norm_lstm", projection_size=2),
    "own, projected": prnn.RNN(INPUTS, HIDDEN, cell=LSTM(peepholes=True), projection_size=2),
}
DROPPED = {"num_layers": 2, "dropout": 0.3, "recurrent_dropout": 0.4, "zoneout": 0.2}


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_all_gradients_with_every_kind_of_dropout(name, bidirectional):
    model = replace(MODELS[name], bidirectional=bidirectional, **DROPPED)
    rng = np.random.default_rng(0)
    params = {k: rng.standard_normal(s) for k, s in model.parameter_shapes.items()}
    x = rng.standard_normal((STEPS, BATCH, INPUTS))
    states = [rng.standard_normal(shape) for shape in model.state_shapes(BATCH)]
    d_outputs = rng.standard_normal((STEPS, BATCH, model.feature_size))
    masks, lengths = prnn.dropout.draw(model, x, 1), [5, 0, 3]

    def forward(*arrays):
        weights, (x, *state) = arrays[: len(params)], arrays[len(params) :]
        return prnn.forward(
            model,
            dict(zip(params, weights, strict=True)),
            x,
            tuple(state) if len(state) > 1 else state[0],
            lengths=lengths,
            dropout=masks,
        )

    arrays = [*params.values(), x, *states]
    tape = forward(*arrays).tape
    grads = prnn.backward(model, params, tape, d_outputs)
    d_states = grads.state if len(states) > 1 else (grads.state,)
    found = [*grads.params.values(), grads.x, *d_states]
    for index, got in enumerate(found):
        what = [*params, "x", "h", "c"][index]
        for _ in range(3):
            along = [np.zeros_like(array) for array in arrays]
            along[index] = rng.choice([-1.0, 1.0], arrays[index].shape)
            want = directional(lambda *a: np.sum(forward(*a).outputs * d_outputs), arrays, along)
            assert_close(
                np.asarray(np.sum(got * along[index])),
                np.asarray(want),
                what,
                scale=np.abs(d_outputs).max() + np.sum(np.abs(got)),
                k=64,
            )


def test_the_second_product_sees_what_recurrent_dropout_leaves_of_the_state():
    """With the reset gate open, its position makes no difference."""
    after = prnn.RNN(INPUTS, HIDDEN, cell="gru", recurrent_dropout=0.5)
    before = replace(after, cell="reset_before_gru")
    params = after.init(seed=0, dtype="float64")
    params["bias_hh_l0"][:HIDDEN] = 60.0
    x = np.random.default_rng(0).standard_normal((STEPS, BATCH, INPUTS))
    masks = prnn.dropout.draw(after, x, 3)
    one, other = (prnn.forward(m, params, x, dropout=masks) for m in (after, before))
    assert_close(other.outputs, one.outputs, "outputs", scale=1.0, k=8)
    free = prnn.forward(before, params, x, dropout=False)
    assert np.any(np.abs(free.outputs - other.outputs) > 1e-3)


def test_a_projected_state_has_its_own_size():
    model = prnn.RNN(3, 6, cell="lstm", num_layers=2, bidirectional=True, projection_size=2)
    assert model.state_shapes(5) == ((4, 5, 2), (4, 5, 6))
    assert model.feature_size == 4
    params, x = model.init(), np.zeros((7, 5, 3), dtype="float32")
    state = (np.zeros((4, 5, 6), dtype="float32"),) * 2
    with pytest.raises(ValueError, match=r"^state\[0\]: expected shape \(4, 5, 2\), got"):
        prnn.predict(model, params, x, state)
    del params["weight_hr_l0"]
    with pytest.raises(ValueError, match=r"^params: missing weight_hr_l0"):
        prnn.predict(model, params, x)


@pytest.mark.parametrize("name", MODELS)
def test_chunks_add_up(name, monkeypatch):
    """The gradients of a cell's own vectors, and of a projection, are sums over chunks too.

    Both sides are rounded, and normalisation amplifies that: up to 26 eps, depending on the BLAS.
    An incomplete sum would have no right digit.
    """
    model = replace(MODELS[name], num_layers=2)
    rng = np.random.default_rng(0)
    params = {k: rng.standard_normal(s) for k, s in model.parameter_shapes.items()}
    x = rng.standard_normal((11, BATCH, INPUTS))
    d_outputs = rng.standard_normal((11, BATCH, model.feature_size))

    def run():
        tape = prnn.forward(model, params, x).tape
        return prnn.backward(model, params, tape, d_outputs)

    whole, cut = run(), []
    monkeypatch.setattr(chunks, "ROWS", 2 * BATCH)
    monkeypatch.setattr(bptt, "layer_vjp", lambda *a, **k: cut.append(1) or layer_vjp(*a, **k))
    parts = run()
    assert len(cut) == 6 * model.num_layers
    for key, want in (whole.params | {"x": whole.x}).items():
        got = (parts.params | {"x": parts.x})[key]
        assert_close(got, want, key, scale=np.abs(d_outputs).max(), k=128)


@pytest.mark.parametrize("name", MODELS)
def test_transposed_weights_are_the_weights(name, monkeypatch):
    """For enough steps and sequences, NumPy is given W_hh transposed: also under dropout."""
    model = replace(MODELS[name], **DROPPED)
    rng = np.random.default_rng(0)
    params = {k: rng.standard_normal(s) for k, s in model.parameter_shapes.items()}
    x = rng.standard_normal((eager.STEPS, eager.BATCH, INPUTS))
    d_outputs = rng.standard_normal((*x.shape[:2], model.feature_size))

    def run():
        with prnn.executors.use("eager"):
            fwd = prnn.forward(model, params, x, dropout=1)
            return fwd.outputs, prnn.backward(model, params, fwd.tape, d_outputs).params

    outputs, grads = run()
    asked = []
    monkeypatch.setattr(eager, "pays", lambda *size: asked.append(size))
    want, want_grads = run()
    assert (eager.STEPS, eager.BATCH) in asked
    assert_close(outputs, want, "outputs", k=64)
    for key, array in want_grads.items():
        assert_close(grads[key], array, key, scale=np.abs(d_outputs).max(), k=64)
