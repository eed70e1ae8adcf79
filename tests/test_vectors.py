"""`parameters_to_vector` and back: refusals, and equality with torch's pair."""

import numpy as np
import pytest

import portable_rnn as prnn

PARAMS = {"w": np.zeros((2, 3)), "b": np.zeros(3)}


@pytest.mark.parametrize(
    ("params", "error", "words"),
    [
        ([np.zeros(3)], TypeError, r"^params: expected a dict of arrays, got list"),
        ({}, ValueError, r"^params: expected at least one array, got none"),
        ({"w": 1.0}, TypeError, r"^params\['w'\]: expected an array"),
        ({"w": np.zeros(3, int)}, TypeError, r"^params\['w'\]: expected .*got int64"),
        (
            PARAMS | {"b": np.zeros(3, "float32")},
            TypeError,
            r"^params\['b'\]: expected dtype float64 like params\['w'\], got float32",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_named(params, error, words):
    with pytest.raises(error, match=words):
        prnn.parameters_to_vector(params)
    with pytest.raises(error, match=words):
        prnn.vector_to_parameters(np.zeros(9), params)


@pytest.mark.parametrize(
    ("vector", "error", "words"),
    [
        (np.zeros(8), ValueError, r"^vector: expected shape \(9,\), got \(8,\)"),
        (np.zeros((9, 1)), ValueError, r"^vector: expected shape \(9,\), got \(9, 1\)"),
        (np.zeros(9, "float32"), TypeError, r"^vector: expected dtype float64 like params"),
        ([0.0] * 9, TypeError, r"^vector: expected an array"),
    ],
)
def test_a_vector_that_does_not_fit_is_named(vector, error, words):
    with pytest.raises(error, match=words):
        prnn.vector_to_parameters(vector, PARAMS)


def test_a_vector_of_sorted_names_is_that_of_torch():
    torch = pytest.importorskip("torch")
    params = prnn.RNN(3, 4, 2, cell="lstm").init(seed=0, xp=torch)
    want = torch.nn.utils.parameters_to_vector([params[name] for name in sorted(params)])
    found = prnn.parameters_to_vector(params)
    assert torch.equal(found, want)
    back = prnn.vector_to_parameters(found, params)
    assert list(back) == list(params)
    assert all(torch.equal(back[name], params[name]) for name in params)
