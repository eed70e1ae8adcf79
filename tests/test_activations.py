"""Values against mpmath, derivatives against complex steps, and no overflow anywhere."""

import mpmath
import numpy as np
import pytest
from conformance.complex_step import directional
from conformance.tolerances import assert_close

import portable_rnn as prnn
from portable_rnn import activations, nonlinearities
from portable_rnn._arrays.namespace import resolve_namespace
from portable_rnn.losses import mean_squared_error

POINTS = np.asarray([-30.0, -3.0, -0.7, -1e-9, 1e-9, 0.4, 2.5, 30.0])
EXACT = {
    "tanh": mpmath.tanh,
    "sigmoid": lambda a: 1 / (1 + mpmath.exp(-a)),
    "relu": lambda a: max(a, mpmath.mpf(0)),
}
# Parameters and points are exact in binary, so both sides have exactly the same numbers.
OTHERS = {
    ("affine", 0.75, -0.25): lambda a: 0.75 * a - 0.25,
    ("leaky_relu", 0.25): lambda a: a if a > 0 else a / 4,
    ("leaky_relu", 0.0): lambda a: max(a, mpmath.mpf(0)),
    ("thresholded_relu", 0.5): lambda a: a if a > 0.5 else mpmath.mpf(0),
    ("scaled_tanh", -1.5, 0.5): lambda a: -1.5 * mpmath.tanh(a / 2),
    ("hard_sigmoid", 0.25, 0.5): lambda a: min(max(a / 4 + 0.5, mpmath.mpf(0)), mpmath.mpf(1)),
    ("elu", 0.5): lambda a: a if a > 0 else mpmath.expm1(a) / 2,
    "elu": lambda a: a if a > 0 else mpmath.expm1(a),
    "softsign": lambda a: a / (1 + abs(a)),
    "softplus": lambda a: mpmath.log1p(mpmath.exp(a)),
}


def at_fifty_digits(name):
    exact = (EXACT | OTHERS)[name]
    with mpmath.workdps(50):
        return np.asarray([float(exact(mpmath.mpf(float(a)))) for a in POINTS])


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
def test_extreme_arguments_give_the_limit_without_a_warning(name):
    far = np.asarray([-1e300, 1e300], dtype=np.float64)
    limits = {"tanh": [-1.0, 1.0], "sigmoid": [0.0, 1.0], "relu": [0.0, 1e300]}
    value = getattr(activations, name)(np, far)
    assert value.tolist() == limits[name]
    slope = getattr(activations, f"{name}_derivative")(np, value)
    assert slope.tolist() == ([0.0, 1.0] if name == "relu" else [0.0, 0.0])


@pytest.mark.parametrize(
    ("library", "dtype"),
    [
        *((library, "float16") for library in ("numpy", "torch")),  # the standard has none
        *((library, "float32") for library in ("numpy", "array_api_strict", "torch")),
        ("array_api_strict", "float64"),
    ],
)
def test_an_overflow_ends_at_the_limit_and_nan_stays_nan(library, dtype):
    """Products before may have overflowed to infinity; half precision does at 65504."""
    xp = resolve_namespace(pytest.importorskip(library))
    limits = {
        "tanh": ([-1.0, 1.0], [0.0, 0.0]),
        "sigmoid": ([0.0, 1.0], [0.0, 0.0]),
        "relu": ([0.0, np.inf], [0.0, 1.0]),
        "affine": ([-np.inf, np.inf], [1.0, 1.0]),
        "leaky_relu": ([-np.inf, np.inf], [0.01, 1.0]),
        ("leaky_relu", 0.0): ([0.0, np.inf], [0.0, 1.0]),
        "thresholded_relu": ([0.0, np.inf], [0.0, 1.0]),
        "scaled_tanh": ([-1.0, 1.0], [0.0, 0.0]),
        "hard_sigmoid": ([0.0, 1.0], [0.0, 0.0]),
        "elu": ([-1.0, np.inf], [0.0, 1.0]),
        "softsign": ([-1.0, 1.0], [0.0, 0.0]),
        "softplus": ([0.0, np.inf], [0.0, 1.0]),
    }
    ends = xp.asarray([-np.inf, np.inf, np.nan], dtype=getattr(xp, dtype))
    for activation in (*nonlinearities.NAMES, ("leaky_relu", 0.0)):
        values, slopes = limits[activation]
        value, derivative = nonlinearities.functions(activation)
        found = value(xp, ends)
        assert found.dtype == ends.dtype
        np.testing.assert_array_equal(np.asarray(found), [*values, np.nan], err_msg=str(activation))
        slope = np.asarray(derivative(xp, found))[:2]
        wanted = np.asarray(slopes, slope.dtype)
        np.testing.assert_array_equal(slope, wanted, err_msg=f"slope of {activation}")


def test_relu_of_products_that_overflow_half_precision():
    model = prnn.RNN(1, 1, nonlinearity="relu", bias=False)
    params = {name: np.full((1, 1), 100.0, np.float16) for name in model.parameter_shapes}
    x = np.full((3, 1), -1000.0, np.float16)
    with np.errstate(over="ignore"):
        result = prnn.bptt(model, params, x, x, loss=mean_squared_error, reduction="sum")
    assert result.outputs.tolist() == [[0.0]] * 3
    assert all(not np.any(grad) for grad in result.grads.values())


def test_hard_sigmoid_meets_its_bounds():
    found = nonlinearities.hard_sigmoid(np, np.asarray([-2.0, 2.0]), 0.25, 0.5)
    assert found.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("activation", [*EXACT, *OTHERS], ids=str)
def test_an_activation_by_its_name(activation):
    value, derivative = nonlinearities.functions(nonlinearities.checked("f", activation))
    found = value(np, POINTS)
    assert_close(found, at_fifty_digits(activation), str(activation), k=2)
    slope = directional(lambda a: value(np, a), [POINTS], [np.ones_like(POINTS)])
    assert_close(derivative(np, found), slope, f"slope of {activation}", scale=1.0, k=4)
    for dtype in ("float32", "complex128"):
        assert value(np, POINTS.astype(dtype)).dtype == dtype
        assert derivative(np, value(np, POINTS.astype(dtype))).dtype == dtype


def test_every_activation_is_tried():
    tried = {name if isinstance(name, str) else name[0] for name in (*EXACT, *OTHERS)}
    assert tried == set(nonlinearities.NAMES)


@pytest.mark.parametrize("name", nonlinearities.NAMES)
def test_extreme_arguments_do_not_overflow(name):
    value, derivative = nonlinearities.functions(name)
    far = np.asarray([-1e300, 1e300])
    assert np.all(np.isfinite(value(np, far)))
    assert np.all(np.isfinite(derivative(np, value(np, far))))


def test_omitted_parameters_have_the_defaults_of_onnx():
    assert nonlinearities.checked("f", ["hard_sigmoid", 0.25]) == ("hard_sigmoid", 0.25, 0.5)
    named, _ = nonlinearities.functions("hard_sigmoid")
    spelt, _ = nonlinearities.functions(("hard_sigmoid", 0.2, 0.5))
    assert np.array_equal(named(np, POINTS), spelt(np, POINTS))


def test_clip_bounds_infinity_and_passes_nan():
    a = np.asarray([-np.inf, -2.0, -1.5, 0.25, 1.5, 2.0, np.inf, np.nan])
    held, residuals = nonlinearities.clip(np, a, 1.5)
    np.testing.assert_array_equal(held, [-1.5, -1.5, -1.5, 0.25, 1.5, 1.5, 1.5, np.nan])
    passed = nonlinearities.clip_vjp(residuals, np.ones(8))
    np.testing.assert_array_equal(passed, [0, 0, 1, 1, 1, 0, 0, 1])
    assert nonlinearities.clip(np, a, None) == (a, ())


def test_relu_has_slope_zero_at_the_kink():
    assert activations.relu_derivative(np, np.zeros(1)).tolist() == [0.0]


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
@pytest.mark.parametrize("name", EXACT)
def test_dtype_is_kept(name, dtype):
    value = getattr(activations, name)(np, POINTS.astype(dtype))
    assert value.dtype == dtype
    assert getattr(activations, f"{name}_derivative")(np, value).dtype == dtype
