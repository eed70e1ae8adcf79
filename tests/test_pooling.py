"""Networks with one output for each sequence: every function, layout and option."""

import numpy as np
import pytest
from conformance.tolerances import assert_close

import portable_rnn as prnn
from portable_rnn.batches import Batch, Shuffled
from portable_rnn.training import evaluate, train

T, B, I, H, C = 7, 3, 4, 5, 2  # noqa: E741 (the letters of the documents)
RNG = np.random.default_rng(0)
X = RNG.standard_normal((T, B, I))
LABELS = RNG.integers(0, C, B)
LENGTHS = [7, 2, 5]
POOLS = ("last", "mean", "max")


def make(pool, **options):
    model = prnn.RNN(I, H, C, **{"cell": "gru", "pool": pool} | options)
    return model, model.init(seed=0, dtype="float64")


def features(model, params, **steps):
    """Return the pooled features, from a network without pool and readout."""
    options = {"cell": model.cell, "bidirectional": model.bidirectional}
    plain = prnn.RNN(I, H, **options)
    rest = {name: array for name, array in params.items() if "." not in name}
    y, found = prnn.predict(plain, rest, X, **steps), []
    for b in range(B):
        valid = slice(0, steps["lengths"][b] if "lengths" in steps else T)
        rows = y[valid, b]
        last = np.concatenate([rows[-1, :H], rows[0, H:]])
        found.append({"last": last, "mean": rows.mean(0), "max": rows.max(0)}[model.pool])
    return np.stack(found)


@pytest.mark.parametrize("steps", [{}, {"lengths": LENGTHS}])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("name", ["eager", "auto"])
def test_outputs_are_the_readout_of_pooled_features(name, pool, bidirectional, steps):
    model, params = make(pool, bidirectional=bidirectional)
    with prnn.executors.use(name):
        got = prnn.predict(model, params, X, **steps)
        pooled = features(model, params, **steps)
    assert got.shape == (B, C)
    want = pooled @ params["readout.weight"].T + params["readout.bias"]
    assert_close(got, want, "outputs", scale=1.0)


@pytest.mark.parametrize("pool", POOLS)
def test_gradients_are_differences(pool):
    model, params = make(pool, bidirectional=True)
    result = prnn.bptt(model, params, X, LABELS, lengths=LENGTHS)
    state = np.zeros((2, B, H))
    step = 1e-6
    for name, array in (params | {"x": X, "state": state}).items():
        direction = RNG.standard_normal(array.shape)
        losses = []
        for sign in (1, -1):
            moved = {**params, "x": X, "state": state} | {name: array + sign * step * direction}
            given = {"state": moved.pop("state"), "lengths": LENGTHS}
            losses.append(prnn.bptt(model, moved, moved.pop("x"), LABELS, **given).loss)
        found = {**result.grads, "x": result.grad_x, "state": result.grad_state}[name]
        want = (losses[0] - losses[1]) / (2 * step)
        np.testing.assert_allclose(np.sum(found * direction), want, rtol=0, atol=1e-8)


@pytest.mark.parametrize("pool", POOLS)
def test_layouts_budgets_and_tapes_change_nothing(pool):
    model, params = make(pool)
    want = prnn.bptt(model, params, X, LABELS, lengths=LENGTHS)
    first, _ = make(pool, batch_first=True)
    got = prnn.bptt(first, params, X.swapaxes(0, 1), LABELS, lengths=LENGTHS)
    assert all(np.array_equal(got.grads[name], want.grads[name]) for name in params)
    got = prnn.bptt(model, params, X, LABELS, lengths=LENGTHS, checkpoint_every=2)
    for name in params:
        assert_close(got.grads[name], want.grads[name], name, scale=1.0)
    one = prnn.bptt(model, params, X[:, 0], LABELS[0])
    assert one.outputs.shape == (C,)
    assert_close(one.outputs, want.outputs[0], "outputs", scale=1.0)
    fwd = prnn.forward(model, params, X, lengths=LENGTHS)
    d_outputs = RNG.standard_normal((B, C))
    twice = [prnn.backward(model, params, fwd.tape, d_outputs) for _ in range(2)]
    assert np.array_equal(twice[0].x, twice[1].x)
    with_state = prnn.backward(model, params, fwd.tape, d_outputs, fwd.state)
    alone = prnn.backward(model, params, fwd.tape, d_state=fwd.state)
    for name in params:
        both = twice[0].params[name] + alone.params[name]
        assert_close(with_state.params[name], both, name, scale=1.0)


def test_a_sequence_without_steps_has_the_readout_of_zeros():
    for pool in POOLS:
        model, params = make(pool)
        found = prnn.predict(model, params, X, lengths=[7, 0, 5])
        assert np.array_equal(found[1], params["readout.bias"])
        result = prnn.bptt(model, params, X, LABELS, lengths=[7, 0, 5])
        assert not result.grad_x[:, 1].any()


def test_the_first_of_equal_maxima_has_the_gradient():
    model = prnn.RNN(1, 1, pool="max", nonlinearity="relu")
    params = {"weight_ih_l0": [[1.0]], "weight_hh_l0": [[0.0]], "bias_ih_l0": [0.0]}
    params = {name: np.asarray(a) for name, a in (params | {"bias_hh_l0": [0.0]}).items()}
    x = np.asarray([1.0, 3.0, 3.0, 2.0]).reshape(4, 1, 1)
    fwd = prnn.forward(model, params, x)
    d_x = prnn.backward(model, params, fwd.tape, np.ones((1, 1))).x
    assert d_x[:, 0, 0].tolist() == [0.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("pool", POOLS)
def test_what_is_not_a_number_is_seen(pool):
    model, params = make(pool)
    x = X.copy()
    x[2, 0, 1], x[5, 1, 0] = np.nan, np.nan  # the second beyond the length
    found = prnn.predict(model, params, x, lengths=LENGTHS)
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1:]).all()


@pytest.mark.parametrize("pool", POOLS)
def test_further_derivatives(pool):
    model, params = make(pool)
    each = prnn.per_example_gradients(model, params, X, LABELS, lengths=LENGTHS)
    whole = prnn.bptt(model, params, X, LABELS, lengths=LENGTHS).grads
    norms = prnn.per_example_norms(model, params, X, LABELS, lengths=LENGTHS).params
    for name in params:
        assert_close(each[name].sum(axis=0), whole[name], name, scale=1.0)
        want = np.sqrt((each[name].reshape(B, -1) ** 2).sum(axis=1))
        assert_close(norms[name], want, name, scale=1.0)
    vector = {name: RNG.standard_normal(array.shape) for name, array in params.items()}
    moved = [
        {name: array + sign * 1e-6 * vector[name] for name, array in params.items()}
        for sign in (1, -1)
    ]
    both = [prnn.bptt(model, p, X, LABELS).grads for p in moved]
    outputs = [prnn.predict(model, p, X) for p in moved]
    pushed = prnn.jvp(model, params, X, d_params=vector)
    want = (outputs[0] - outputs[1]) / 2e-6
    np.testing.assert_allclose(pushed.d_outputs, want, rtol=0, atol=1e-8)
    found = prnn.hvp(model, params, X, LABELS, vector)
    for name in params:
        want = (both[0][name] - both[1][name]) / 2e-6
        np.testing.assert_allclose(found[name], want, rtol=0, atol=1e-8)


def test_training_takes_one_target_for_each_sequence():
    tokens = RNG.integers(0, 6, (10, 200))
    labels = (tokens == 3).any(axis=0).astype(np.int64)
    lengths = np.full(200, 10)
    model = prnn.RNN(6, 12, 2, cell="gru", vocabulary_size=6, pool="max", dropout=0.1, num_layers=2)
    source = Shuffled(
        tokens, labels, batch_size=20, lengths=lengths, weights=np.ones(200, np.float32)
    )
    run = train(model, model.init(seed=0), source, steps=120, lr=0.02, validation=source)
    assert run.best_evaluation < 0.1
    assert source.batch(0).targets.shape == (20,)
    first = prnn.RNN(6, 12, 2, vocabulary_size=6, pool="mean", batch_first=True)
    rows = np.eye(2, dtype=np.float32)[labels]
    source = Shuffled(tokens.T, rows, batch_size=20, batch_axis=0)
    assert evaluate(first, first.init(seed=0), source) > 0
    train(first, first.init(seed=0), source, steps=2)


def test_an_evaluation_counts_sequences():
    model, params = make("last")
    parts = [slice(0, 1), slice(1, 3)]

    class Parts:
        steps_per_epoch = 2

        def batch(self, step):
            return Batch(X[:, parts[step]], LABELS[parts[step]])

    want = prnn.bptt(model, params, X, LABELS).loss
    assert abs(evaluate(model, params, Parts()) - want) < 1e-15


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m, p: prnn.RNN(I, H, C, pool="first"), "pool: expected 'last', 'mean' or 'max'"),
        (lambda m, p: prnn.stream(m, p), "model: expected an output at each step for a stream"),
        (
            lambda m, p: prnn.truncated_bptt(m, p, X, LABELS, k1=2, k2=2),
            "model: expected an output at each step for truncated_bptt",
        ),
        (
            lambda m, p: prnn.gradient_flow(m, p, X, LABELS),
            "model: expected an output at each step for gradient_flow",
        ),
        (lambda m, p: prnn.bptt(m, p, X, np.zeros((T, B), int)), "targets: expected class indices"),
        (
            lambda m, p: prnn.bptt(m, p, X, LABELS, weights=np.ones((T, B)), lengths=LENGTHS),
            "weights: expected shape",
        ),
        (
            lambda m, p: prnn.backward(m, p, prnn.forward(m, p, X).tape, np.ones((T, B, C))),
            "d_outputs: expected shape",
        ),
        (
            lambda m, p: Shuffled(X, np.zeros(B + 1, int), batch_size=1),
            "targets: expected 3 sequences along axis 1 like x, or a target for each",
        ),
        (
            lambda m, p: train(
                m, p, Shuffled(X, LABELS, weights=np.ones((T, B)), batch_size=1), steps=1
            ),
            "weights: expected shape",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ValueError, match=f"^{said}"):
        call(*make("last"))


def test_a_mean_of_half_precision_counts_beyond_2048_steps():
    model = prnn.RNN(1, 1, pool="mean", nonlinearity="affine", bias=False)
    params = {"weight_ih_l0": np.ones((1, 1)), "weight_hh_l0": np.zeros((1, 1))}
    params = {name: array.astype(np.float16) for name, array in params.items()}
    found = prnn.predict(model, params, np.ones((10_000, 2, 1), np.float16))
    assert found.tolist() == [[1.0], [1.0]]


def test_rows_for_each_sequence_are_shuffled_with_them():
    for steps, axis in ((5, 1), (5, 0)):
        x = np.arange(4.0)[None, :, None] * np.ones((steps, 4, 1))
        rows = np.eye(4)
        x = x if axis else x.swapaxes(0, 1)
        source = Shuffled(x, rows, batch_size=3, batch_axis=axis, weights=np.arange(4.0))
        batch = source.batch(0)
        numbers = (batch.x[0, :, 0] if axis else batch.x[:, 0, 0]).astype(int)
        assert np.array_equal(batch.targets, rows[numbers])
        assert np.array_equal(batch.weights, numbers)
