"""Initial parameters: the schemes, gate by gate, and the bias of the forget gate."""

import numpy as np
import pytest

import portable_rnn as prnn

H = 64
MODEL = prnn.RNN(48, H, 10, cell="gru", num_layers=2, bidirectional=True)


def gates(array, count=3):
    return np.split(array, count)


def test_without_options_nothing_has_changed():
    params = prnn.RNN(3, 4, 2, cell="lstm").init(seed=0, dtype="float64")
    rng = np.random.default_rng(0)
    for array in params.values():
        assert np.array_equal(array, rng.uniform(-0.5, 0.5, array.shape))


def test_orthogonal_matrices_are_orthogonal_gate_by_gate():
    params = MODEL.init(seed=0, recurrent="orthogonal", inputs="orthogonal", dtype="float64")
    for name, array in params.items():
        if name.startswith("weight"):
            for gate in gates(array):
                rows, columns = gate.shape
                short = gate @ gate.T if rows <= columns else gate.T @ gate
                np.testing.assert_allclose(short, np.eye(min(gate.shape)), atol=1e-13)
    assert not np.allclose(*gates(params["weight_hh_l0"])[:2])


@pytest.mark.parametrize(
    ("scheme", "deviation"),
    [
        ("glorot", lambda o, i: (2.0 / (i + o)) ** 0.5),
        ("he", lambda o, i: (2.0 / i) ** 0.5),
        ("lecun", lambda o, i: (1.0 / i) ** 0.5),
    ],
)
def test_deviations_are_those_of_the_papers(scheme, deviation):
    params = MODEL.init(seed=1, recurrent=scheme, inputs=scheme, dtype="float64")
    for name, array in params.items():
        if name.startswith("weight"):
            for gate in gates(array):
                assert abs(gate.std() / deviation(*gate.shape) - 1.0) < 0.05
                assert abs(gate.mean()) < 0.05 * deviation(*gate.shape) * 3
    readout = params["readout.weight"]
    assert abs(readout.std() / deviation(*readout.shape) - 1.0) < 0.1


def test_biases_may_be_zero():
    params, drawn = MODEL.init(seed=0, biases="zeros"), MODEL.init(seed=0)
    for name, array in params.items():
        assert np.array_equal(array, 0.0 * drawn[name] if "bias" in name else drawn[name])


def test_a_tied_embedding_and_a_projection_have_schemes():
    tied = prnn.RNN(H, H, 300, vocabulary_size=300, tied=True)
    array = tied.init(seed=0, inputs="glorot", dtype="float64")["embedding.weight"]
    assert abs(array.std() / (2.0 / (300 + H)) ** 0.5 - 1.0) < 0.05
    projected = prnn.RNN(3, H, cell="lstm", projection_size=16)
    array = projected.init(seed=0, recurrent="orthogonal", dtype="float64")["weight_hr_l0"]
    np.testing.assert_allclose(array @ array.T, np.eye(16), atol=1e-13)


@pytest.mark.parametrize("biases", ["uniform", "zeros"])
def test_the_forget_gate_has_a_bias_of_its_own(biases):
    model = prnn.RNN(3, 4, cell="lstm", num_layers=2)
    params = model.init(seed=0, forget_bias=1.0, biases=biases)
    plain = model.init(seed=0, biases=biases)
    for layer in (0, 1):
        both = params[f"bias_ih_l{layer}"] + params[f"bias_hh_l{layer}"]
        assert both[4:8].tolist() == [1.0] * 4
        for name in (f"bias_ih_l{layer}", f"bias_hh_l{layer}"):
            rest = np.delete(np.arange(16), slice(4, 8))
            assert np.array_equal(params[name][rest], plain[name][rest])
    # Of this gate alone: an LSTM that forgets nothing keeps its state.
    open_gate = model.init(seed=0, forget_bias=50.0, dtype="float64")
    start = np.ones((2, 1, 4))
    _, (_, c) = prnn.predict(
        model, open_gate, np.zeros((1, 1, 3)), (0 * start, start), return_state=True
    )
    closed = prnn.predict(
        model,
        model.init(seed=0, forget_bias=-50.0, dtype="float64"),
        np.zeros((1, 1, 3)),
        (0 * start, start),
        return_state=True,
    )[1][1]
    np.testing.assert_allclose(c[0] - closed[0], start[0], atol=1e-12)


def test_seeds_and_libraries_give_the_same_numbers():
    options = {"inputs": "glorot", "recurrent": "orthogonal", "biases": "zeros"}
    one, again = (MODEL.init(seed=3, **options) for _ in range(2))
    other = MODEL.init(seed=4, **options)
    torch = pytest.importorskip("torch")
    moved = MODEL.init(seed=3, xp=torch, **options)
    for name, array in one.items():
        assert np.array_equal(array, again[name])
        assert np.array_equal(array, moved[name].numpy())
        assert not array.any() or not np.array_equal(array, other[name])


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"recurrent": "orthonormal"}, ValueError, "recurrent: expected 'uniform', 'glorot'"),
        ({"inputs": None}, TypeError, "inputs: expected 'uniform'"),
        ({"biases": 0}, TypeError, "biases: expected 'uniform' or 'zeros'"),
        ({"forget_bias": 1.0}, ValueError, "forget_bias: expected an LSTM with a forget gate"),
    ],
)
def test_what_does_not_fit_is_refused(options, error, said):
    with pytest.raises(error, match=f"^{said}"):
        MODEL.init(seed=0, **options)


@pytest.mark.parametrize("value", ["1", float("nan"), None])
def test_the_forget_bias_is_a_number(value):
    model = prnn.RNN(3, 4, cell="lstm")
    if value is None:
        model.init(seed=0, forget_bias=None)
        return
    with pytest.raises((TypeError, ValueError), match=r"^forget_bias: expected"):
        model.init(seed=0, forget_bias=value)
    coupled = prnn.RNN(3, 4, cell=prnn.cells.LSTM(coupled=True))
    with pytest.raises(ValueError, match=r"^forget_bias: expected an LSTM with a forget gate"):
        coupled.init(seed=0, forget_bias=1.0)


def test_small_numbers_are_rounded_whatever_numpy_is_set_to():
    with np.errstate(all="raise"):
        found = prnn.RNN(64, 64, cell="lstm").init(seed=0, dtype="float16")
    assert min(np.abs(array).min() for array in found.values()) < np.finfo(np.float16).tiny
