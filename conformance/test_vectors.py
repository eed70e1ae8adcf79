"""A dict of arrays as one vector and back, on every backend: the numbers are only moved."""

import numpy as np
import pytest

import portable_rnn as prnn

from .backend import host_dtype
from .subject import device_of
from .test_gradients import HALVES

SHAPES = {"weight": (3, 4), "bias": (4,), "a": (1, 1), "scale": ()}


def dtypes(row):
    return [dtype for dtype in row.dtypes if dtype not in HALVES or row.id != "numpy"]


def there_and_back(_, params, other):
    vector = prnn.parameters_to_vector(params)
    return {"vector": vector} | prnn.vector_to_parameters(vector, other)


@pytest.mark.parametrize("order", [1, -1])
def test_a_vector_has_the_numbers_in_the_order_of_sorted_names(backend, dtype, order):
    rng = np.random.default_rng(0)
    host = {
        name: rng.integers(-9, 9, SHAPES[name]).astype(host_dtype(dtype))
        for name in list(SHAPES)[::order]
    }
    params = {name: backend.put(np.asarray(array)) for name, array in host.items()}
    other = {name: backend.put(np.zeros_like(array)) for name, array in host.items()}
    found = backend.call(there_and_back, None, params, other)
    vector = found.pop("vector")
    want = np.concatenate([host[name].ravel() for name in ("a", "bias", "scale", "weight")])
    assert tuple(vector.shape) == want.shape
    for name, array in found.items():
        assert tuple(array.shape) == SHAPES[name]
        assert array.dtype == params[name].dtype
        assert device_of(array) == device_of(params[name])
    assert list(found) == list(host) or backend.id == "jax-jit"  # which sorts the keys of a dict
    if not backend.shapes_only:
        assert np.array_equal(backend.get(vector), want)
        for name, array in found.items():
            assert np.array_equal(backend.get(array), host[name])
            assert np.array_equal(backend.get(params[name]), host[name])
