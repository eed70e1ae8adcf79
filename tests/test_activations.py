"""Values against mpmath, derivatives against complex steps, and no overflow anywhere."""

import mpmath
import numpy as np
import pytest
from conformance.complex_step import directional
from conformance.tolerances import assert_close

from portable_rnn import activations

POINTS = np.asarray([-30.0, -3.0, -0.7, -1e-9, 1e-9, 0.4, 2.5, 30.0])
EXACT = {
    "tanh": mpmath.tanh,
    "sigmoid": lambda a: 1 / (1 + mpmath.exp(-a)),
    "relu": lambda a: max(a, mpmath.mpf(0)),
}


def at_fifty_digits(name):
    with mpmath.workdps(50):
        return np.asarray([float(EXACT[name](mpmath.mpf(float(a)))) for a in POINTS])


@pytest.mark.parametrize("name", EXACT)
def test_value(name):
    got = getattr(activations, name)(np, POINTS)
    assert_close(got, at_fifty_digits(name), name, k=1)


@pytest.mark.parametrize("name", EXACT)
def test_derivative_is_that_of_the_value(name):
    f = getattr(activations, name)
    slope = directional(lambda a: f(np, a), [POINTS], [np.ones_like(POINTS)])
    got = getattr(activations, f"{name}_derivative")(np, f(np, POINTS))
    assert_close(got, slope, f"{name}'", k=2)


@pytest.mark.parametrize("name", EXACT)
def test_far_out_is_the_limit_without_a_warning(name):
    far = np.asarray([-1e300, 1e300], dtype=np.float64)
    limits = {"tanh": [-1.0, 1.0], "sigmoid": [0.0, 1.0], "relu": [0.0, 1e300]}
    value = getattr(activations, name)(np, far)
    assert value.tolist() == limits[name]
    slope = getattr(activations, f"{name}_derivative")(np, value)
    assert slope.tolist() == ([0.0, 1.0] if name == "relu" else [0.0, 0.0])


def test_relu_has_slope_zero_at_the_kink():
    assert activations.relu_derivative(np, np.zeros(1)).tolist() == [0.0]


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
@pytest.mark.parametrize("name", EXACT)
def test_dtype_is_kept(name, dtype):
    value = getattr(activations, name)(np, POINTS.astype(dtype))
    assert value.dtype == dtype
    assert getattr(activations, f"{name}_derivative")(np, value).dtype == dtype
