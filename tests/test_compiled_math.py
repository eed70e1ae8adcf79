"""Functions of the compiled loops: their errors, and their results for special numbers.

Errors are counted in units in the last place (ulp) of the exact value, as in the table on top of
`llvm_math`. With the environment variable EXHAUSTIVE all 2^32 numbers of float32 are tried.
"""

import math
import os

import mpmath
import numpy as np
import pytest
from conformance.mutants import compiled_here

if reason := compiled_here.why_not():
    pytest.skip(reason, allow_module_level=True)

from .compiled_functions import compiled_function

pytestmark = pytest.mark.no_products
WIDTHS = (128, 256, 512) if compiled_here.EVERY else (128, 256)


@pytest.fixture(autouse=True)
def _vectors(monkeypatch):
    for name, value in compiled_here.ON.items():
        monkeypatch.setenv(name, value)


ULPS = {
    "tanh": 2.5,
    "exp": 1.1,
    "expm1": 2.0,
    "sigmoid": 2.5,
    "log": 1.0,
    "log1p": 1.0,
    "sqrt": 0.5,
}
DTYPES = ["float32", "float64"]
# Below, a sigmoid is 0.
LEAST_SIGMOID = {"float32": -87.0, "float64": -708.0}


def exact(name, x):
    """Return values of float64 for arguments of float32."""
    with np.errstate(all="ignore"):
        x = x.astype(np.float64)
        if name == "sigmoid":
            return np.where(x < LEAST_SIGMOID["float32"], 0.0, 1.0 / (1.0 + np.exp(-x)))
        return getattr(np, name)(x)


def error_in_ulps(name, x):
    """Return the largest error of float32; check that NaN is where exact values are NaN."""
    got, want = compiled_function(name, "float32")(x), exact(name, x)
    with np.errstate(all="ignore"):
        rounded = want.astype(np.float32)
    finite = np.isfinite(rounded)
    # Between the largest number and infinity either is right.
    np.testing.assert_array_equal(got[~finite & np.isnan(want)], np.nan)
    edge = got[~finite & ~np.isnan(want)]
    assert (np.isinf(edge) | (np.abs(edge) == np.finfo(np.float32).max)).all()
    ulp = np.spacing(np.abs(rounded[finite])).astype(np.float64)
    return float(np.max(np.abs(got[finite] - want[finite]) / ulp, initial=0.0))


@pytest.fixture(autouse=True, scope="module")
def _own_folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PORTABLE_RNN_CACHE", str(tmp_path_factory.mktemp("code")))
        yield


@pytest.mark.parametrize("name", ULPS)
def test_float32_on_a_sample_of_all_exponents(name):
    """Every 1,021st of all bit patterns."""
    x = np.arange(0, 2**32, 1021, dtype=np.uint64).astype(np.uint32).view(np.float32)
    assert error_in_ulps(name, x) <= ULPS[name]


@pytest.mark.parametrize("name", ULPS)
def test_float32_where_values_change(name):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-100, 100, 10**6), rng.standard_normal(10**6)])
    x = np.concatenate([x, 1.0 + 1e-3 * rng.standard_normal(10**5)]).astype(np.float32)
    assert error_in_ulps(name, x) <= ULPS[name]


@pytest.mark.skipif("EXHAUSTIVE" not in os.environ, reason="minutes: set EXHAUSTIVE")
@pytest.mark.parametrize("name", ULPS)
def test_float32_all(name, record_property):
    block, worst = 2**24, 0.0
    for start in range(0, 2**32, block):
        x = np.arange(start, start + block, dtype=np.uint64).astype(np.uint32).view(np.float32)
        worst = max(worst, error_in_ulps(name, x))
    record_property("ulps", worst)
    print(f"{name}: {worst:.3f} ulp")
    assert worst <= ULPS[name]


def arguments(name):
    """Return arguments of float64, some thousand."""
    rng, n = np.random.default_rng(0), 1500
    sign = rng.choice([-1.0, 1.0], n)
    parts = [sign * 10.0 ** rng.uniform(-300, 1, n), rng.standard_normal(n)]
    if name in ("exp", "expm1", "sigmoid"):
        parts += [rng.uniform(-708, 708, n), rng.uniform(-2, 2, n)]
    elif name == "tanh":
        parts += [rng.uniform(-20, 20, n), rng.uniform(-1, 1, n)]
    else:
        parts = [np.abs(part) for part in parts]
        parts += [10.0 ** rng.uniform(-320, 308, n), 1.0 + 0.1 * rng.standard_normal(n)]
    if name == "log1p":
        parts.append(-rng.random(n))
    return np.concatenate(parts)


@pytest.mark.parametrize("name", ULPS)
def test_float64_on_a_sample(name):
    x = arguments(name)
    got = compiled_function(name, "float64")(x)
    with mpmath.workdps(40):
        function = getattr(mpmath, name, lambda a: 1 / (1 + mpmath.exp(-a)))
        for argument, value in zip(x.tolist(), got.tolist(), strict=True):
            want = function(mpmath.mpf(argument))
            error = abs(mpmath.mpf(value) - want) / math.ulp(float(want))
            assert error <= ULPS[name], f"{name}({argument!r}): {float(error):.2f} ulp"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ULPS)
def test_special_numbers(name, dtype):
    info = np.finfo(dtype)
    x = [0.0, info.smallest_subnormal, info.smallest_normal, info.eps**2, info.max, np.inf]
    x = np.asarray([*x, *(-one for one in x), np.nan, -1.0, -2.0], dtype)
    got = compiled_function(name, dtype)(x)
    with np.errstate(all="ignore"):
        want = 1.0 / (1.0 + np.exp(-x)) if name == "sigmoid" else getattr(np, name)(x)
    assert got.dtype == want.dtype
    np.testing.assert_array_max_ulp(got[np.isfinite(want)], want[np.isfinite(want)], maxulp=2)
    np.testing.assert_array_equal(got[~np.isfinite(want)], want[~np.isfinite(want)])
    numbers = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(got[numbers]), np.signbit(want[numbers]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_tanh_is_odd_and_never_beyond_1(dtype):
    x = np.linspace(0, 50, 10**6).astype(dtype)
    tanh = compiled_function("tanh", dtype)
    np.testing.assert_array_equal(tanh(-x), -tanh(x))
    assert tanh(x).max() == 1.0
    sigmoid = compiled_function("sigmoid", dtype)
    assert 0.0 <= sigmoid(-x).min() <= sigmoid(x).max() == 1.0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ULPS)
def test_values_have_the_same_bits_whatever_the_width_of_vectors(name, dtype):
    with np.errstate(all="ignore"):
        x = arguments(name).astype(dtype)
        narrow, *others = (compiled_function(name, dtype, bits)(x) for bits in WIDTHS)
    for other in others:
        np.testing.assert_array_equal(other, narrow)
