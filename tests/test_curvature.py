"""Products with Jacobian, Hessian and Gauss-Newton matrix: identities, and refusals."""

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn import losses
from portable_rnn.derivatives import complex_step as directional

T, B, I, H, O = 6, 3, 4, 5, 3  # noqa: E741
CELLS = ("elman", "gru", "lstm")
RNG = np.random.default_rng(5)
X, LABELS = RNG.standard_normal((T, B, I)), RNG.integers(0, O, (T, B))
ROWS = RNG.uniform(0.0, 1.0, (T, B, O))
MODEL = prnn.RNN(I, H, O)
PARAMS, U, V = (MODEL.init(seed=seed, dtype="float64") for seed in range(3))
LOSSES = {
    "labels": ("softmax_cross_entropy", LABELS, {"label_smoothing": 0.1}),
    "class_weights": (
        *("softmax_cross_entropy", LABELS),
        {"class_weights": np.asarray([0.5, 1.0, 2.0]), "ignore_index": 1},
    ),
    "rows": ("softmax_cross_entropy", ROWS, {}),
    "squares": ("mean_squared_error", ROWS, {"weights": RNG.uniform(0.0, 1.0, (T, B))}),
    "logits": ("binary_cross_entropy", ROWS, {"reduction": "sum"}),
}


def slope(f, h=1e-5):
    """Central difference of a dict of arrays along ``f``'s argument."""
    after, before = f(h), f(-h)
    return {name: (after[name] - before[name]) / (2 * h) for name in after}


def hold(got, want, rtol):
    for name, ref in want.items():
        np.testing.assert_allclose(got[name], ref, rtol=0, atol=rtol * np.max(np.abs(ref)))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("cell", CELLS)
def test_hvp_is_the_slope_of_the_gradient(cell, name):
    loss, targets, options = LOSSES[name]
    model = prnn.RNN(I, H, O, cell=cell)
    params, v = (model.init(seed=seed, dtype="float64") for seed in range(2))
    given = {"loss": getattr(losses, loss), **options}

    def gradient(h):
        moved = {n: p + h * v[n] for n, p in params.items()}
        return prnn.bptt(model, moved, X, targets, **given).grads

    hold(prnn.hvp(model, params, X, targets, v, **given), slope(gradient), 1e-7)


@pytest.mark.parametrize("name", LOSSES)
def test_gauss_newton_is_the_hessian_where_the_network_is_linear(name):
    """In its readout a network is linear, so there the two products agree."""
    loss, targets, options = LOSSES[name]
    given = {"loss": getattr(losses, loss), **options}
    only = {name: V[name] for name in ("readout.weight", "readout.bias")}
    whole = prnn.hvp(MODEL, PARAMS, X, targets, only, **given)
    half = prnn.gauss_newton_product(MODEL, PARAMS, X, targets, only, **given)
    hold({n: half[n] for n in only}, {n: whole[n] for n in only}, 1e-14)


def test_products_are_linear_whatever_the_length_of_the_vector():
    for product in (prnn.hvp, prnn.gauss_newton_product):
        once = product(MODEL, PARAMS, X, LABELS, V)
        for factor in (1e-200, 1e-20, 1e20, 1e200):
            scaled = product(MODEL, PARAMS, X, LABELS, {n: factor * v for n, v in V.items()})
            hold({n: a / factor for n, a in scaled.items()}, once, 1e-14)
        for array in product(MODEL, PARAMS, X, LABELS, {"bias_hh_l0": np.zeros(H)}).values():
            assert np.all(array == 0.0)


def test_a_part_of_a_vector_may_be_small_compared_with_the_others():
    """The step is scaled by the largest entry of all arrays."""
    assert next(iter(PARAMS)) == "weight_ih_l0"
    small = V | {"weight_ih_l0": 1e-60 * V["weight_ih_l0"]}
    without = {name: v for name, v in V.items() if name != "weight_ih_l0"}
    for product in (prnn.hvp, prnn.gauss_newton_product):
        want = product(MODEL, PARAMS, X, LABELS, without)
        hold(product(MODEL, PARAMS, X, LABELS, small), want, 1e-14)


def test_jvp_of_each_argument_adds_up():
    model = prnn.RNN(I, H, O, cell="lstm")
    params, d_params = (model.init(seed=seed, dtype="float64") for seed in range(2))
    state, d_state = (tuple(RNG.standard_normal((1, B, H)) for _ in range(2)) for _ in range(2))
    d_x = RNG.standard_normal(X.shape)
    moves = {"d_params": d_params, "d_x": d_x, "d_state": d_state}
    whole = prnn.jvp(model, params, X, state, **moves)
    parts = [prnn.jvp(model, params, X, state, **{n: move}) for n, move in moves.items()]
    np.testing.assert_allclose(whole.d_outputs, sum(p.d_outputs for p in parts), atol=1e-14)
    for i in range(2):
        total = sum(p.d_state[i] for p in parts)
        np.testing.assert_allclose(whole.d_state[i], total, atol=1e-14)
    outputs, after = prnn.predict(model, params, X, state, return_state=True)
    np.testing.assert_allclose(whole.outputs, outputs, rtol=1e-14)
    np.testing.assert_allclose(whole.state, after, rtol=1e-14)
    assert whole.outputs.flags.owndata


def test_jvp_from_the_zero_state_and_without_a_batch():
    want = prnn.jvp(MODEL, PARAMS, X, np.zeros((1, B, H)), d_state=np.ones((1, B, H)))
    got = prnn.jvp(MODEL, PARAMS, X, d_state=np.ones((1, B, H)))
    np.testing.assert_array_equal(got.d_outputs, want.d_outputs)
    lone = prnn.jvp(MODEL, PARAMS, X[:, 1], d_state=np.ones((1, H)))
    np.testing.assert_allclose(lone.d_outputs, want.d_outputs[:, 1], rtol=1e-14)


def test_jvp_and_vjp_are_adjoint():
    model = prnn.RNN(I, H, O, cell="gru", num_layers=2, bidirectional=True)
    params, d_params = (model.init(seed=seed, dtype="float64") for seed in range(2))
    lengths, w = [6, 0, 3], RNG.standard_normal((T, B, O))
    pushed = prnn.jvp(model, params, X, d_params=d_params, d_x=X[::-1], lengths=lengths)
    tape = prnn.forward(model, params, X, lengths=lengths).tape
    pulled = prnn.backward(model, params, tape, w)
    there = sum(np.sum(pulled.params[n] * d_params[n]) for n in params)
    np.testing.assert_allclose(
        np.sum(w * pushed.d_outputs), there + np.sum(pulled.x * X[::-1]), rtol=1e-13
    )


@pytest.mark.parametrize("options", [{"recurrent_dropout": 0.5}, {"zoneout": 0.3}])
def test_with_masks_of_dropout(options):
    """The masks of one seed: drawn again, or given, they are part of the function."""
    model = prnn.RNN(I, H, O, cell="gru", **options)
    params, v = (model.init(seed=seed, dtype="float64") for seed in range(2))
    masks = prnn.dropout.draw(model, X, 7)

    def gradient(h):
        moved = {n: p + h * v[n] for n, p in params.items()}
        return prnn.bptt(model, moved, X, LABELS, dropout=7).grads

    for dropout in (7, masks):
        hold(prnn.hvp(model, params, X, LABELS, v, dropout=dropout), slope(gradient), 1e-7)
        got = prnn.gauss_newton_product(model, params, X, LABELS, v, dropout=dropout)
        assert sum(np.sum(v[n] * got[n]) for n in params) > 0.0


def test_half_precision_is_rounded_once():
    half = {n: p.astype(np.float16) for n, p in PARAMS.items()}
    v, x = {n: a.astype(np.float16) for n, a in V.items()}, X.astype(np.float16)
    got = prnn.hvp(MODEL, half, x, LABELS, v)
    wide = [{n: a.astype(np.float64) for n, a in d.items()} for d in (half, v)]
    want = prnn.hvp(MODEL, wide[0], x.astype(np.float64), LABELS, wide[1])
    for name, ref in want.items():
        assert got[name].dtype == np.float16
        np.testing.assert_allclose(got[name], ref, rtol=2**-10, atol=1e-6)


@pytest.mark.parametrize(("dtype", "error"), [("float64", 1e-10), ("float32", 1e-3)])
def test_differences_stand_in_for_complex_numbers(monkeypatch, dtype, error):
    """As for a library without complex numbers; the accuracy is the documented one."""
    for cell in CELLS:
        model = prnn.RNN(I, H, O, cell=cell)
        params, v = (model.init(seed=seed, dtype=dtype) for seed in range(2))
        x, found = X.astype(dtype), []
        for has_complex in (True, False):
            monkeypatch.setattr(directional, "_has_complex", lambda xp, has=has_complex: has)
            found.append(
                prnn.hvp(model, params, x, LABELS, v)
                | {
                    f"gnvp {name}": array
                    for name, array in prnn.gauss_newton_product(
                        model, params, x, LABELS, v
                    ).items()
                }
                | {"outputs": prnn.jvp(model, params, x, d_params=v).d_outputs}
            )
        hold(found[1], found[0], error)


def test_nothing_is_written_to():
    arrays = [*PARAMS.values(), *V.values(), X]
    copies = [a.copy() for a in arrays]
    prnn.hvp(MODEL, PARAMS, X, LABELS, V)
    prnn.gauss_newton_product(MODEL, PARAMS, X, LABELS, V)
    prnn.jvp(MODEL, PARAMS, X, d_params=V, d_x=X)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, copies, strict=True))


@pytest.mark.parametrize(
    ("vector", "error", "message"),
    [
        ({}, ValueError, "vector: expected at least one array, got none"),
        ([1.0], TypeError, "vector: expected a dict of arrays, got list"),
        ({"weight": X}, ValueError, "vector: expected names of parameters .* got weight"),
        ({"bias_hh_l0": np.zeros(H + 1)}, ValueError, r"vector\['bias_hh_l0'\]: expected shape"),
        (
            {"bias_hh_l0": np.zeros(H, dtype=np.float32)},
            TypeError,
            r"vector\['bias_hh_l0'\]: expected dtype float64 like params\['bias_hh_l0'\]",
        ),
    ],
)
@pytest.mark.parametrize("product", [prnn.hvp, prnn.gauss_newton_product])
def test_a_vector_that_does_not_fit(product, vector, error, message):
    with pytest.raises(error, match=message):
        product(MODEL, PARAMS, X, LABELS, vector)


@pytest.mark.parametrize(
    ("moves", "error", "message"),
    [
        ({}, ValueError, "d_params, d_x, d_state: expected at least one direction, got none"),
        ({"d_params": {}}, ValueError, "d_params, d_x, d_state: expected at least one"),
        ({"d_params": {"w": X}}, ValueError, "d_params: expected names of parameters"),
        ({"d_x": X[1:]}, ValueError, "d_x: expected shape"),
        ({"d_state": (X, X)}, ValueError, "d_state: expected one array, got 2 of them"),
        ({"d_state": X}, ValueError, "d_state: expected shape"),
    ],
)
def test_a_direction_that_does_not_fit(moves, error, message):
    with pytest.raises(error, match=message):
        prnn.jvp(MODEL, PARAMS, X, **moves)


def test_complex_parameters_are_refused():
    moved = {name: array.astype(complex) for name, array in PARAMS.items()}
    with pytest.raises(TypeError, match="params: expected a real floating dtype, got complex128"):
        prnn.hvp(MODEL, moved, X, LABELS, V)


def test_jvp_returns_outputs_whatever_is_asked_of_the_state():
    model = prnn.RNN(1, 2)
    x = np.ones((5, 3, 1))
    params = model.init(seed=0, dtype="float64")
    moved = prnn.jvp(model, params, x, d_x=x, return_state=False)
    assert moved.outputs.shape == moved.d_outputs.shape == (5, 3, 2)
