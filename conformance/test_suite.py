"""The suite's own promises: it notices what it should, and never skips in silence."""

import os
import subprocess
import sys

import numpy as np
import pytest

from .backends import BACKENDS, Backend, Unavailable, readonly, required, strided, why_not
from .complex_step import directional, gradient
from .problems import draw
from .tolerances import assert_close, error_in_eps


def test_error_is_counted_in_eps_of_the_tested_dtype():
    ref = np.asarray([2.0, -4.0])
    for dtype in (np.float32, np.float64):
        got = ref.astype(dtype) + np.asarray([0, 3 * 4 * np.finfo(dtype).eps], dtype=dtype)
        assert error_in_eps(got, ref) == 3.0
        assert error_in_eps(got, ref, scale=8.0) == 1.5


@pytest.mark.parametrize(
    ("got", "ref"),
    [
        (np.asarray([1.0, np.nan]), np.ones(2)),
        (np.asarray([1.0, np.inf]), np.ones(2)),
        (np.ones((1, 2)), np.ones(2)),  # would broadcast
        (np.ones(2), np.ones(2, dtype=np.float32)),  # a reference no better than the tested
        (np.ones(2, dtype=np.int64), np.ones(2)),
        (np.ones(2), np.asarray([1.0, np.nan])),
        (np.ones(0), np.ones(0)),
        (np.full(2, 1e-300), np.zeros(2)),  # nothing is small beside zero
    ],
)
def test_what_is_not_comparable_is_not_close(got, ref):
    with pytest.raises(AssertionError, match="outputs of problem 7: "):
        assert_close(got, ref, "outputs of problem 7")


def test_the_same_description_draws_the_same_arrays():
    problem = draw("lstm", 3)
    one, two = problem.arrays("float64"), problem.arrays("float32")
    assert np.array_equal(one.x.astype(np.float32), two.x)
    assert not np.array_equal(one.x, draw("lstm", 4).arrays("float64").x)


def test_hostile_layouts_are_hostile():
    array = np.arange(24.0).reshape(2, 3, 4)
    assert np.array_equal(strided(array), array)
    flags = strided(array).flags
    assert not flags.c_contiguous
    assert not flags.f_contiguous
    with pytest.raises(ValueError, match="read-only"):
        readonly(array)[0] = 1.0


def test_complex_step_finds_a_known_derivative():
    x, v = np.asarray([0.3, -1.2]), np.asarray([2.0, 0.5])

    def f(x, scale):
        return np.sum(np.exp(x) * scale)

    scale = np.asarray(3.0)
    assert_close(gradient(f, [x, scale], 0), 3.0 * np.exp(x), "gradient", k=2)
    along = directional(f, [x, scale], [v, np.asarray(0.0)])
    assert_close(along, np.sum(3.0 * np.exp(x) * v), "directional", k=4)


def test_a_library_that_is_missing_is_unavailable_with_a_reason():
    with pytest.raises(Unavailable, match="no_such_library is not installed"):
        Backend("mine", "no_such_library").probe()


def test_a_library_that_computes_nonsense_is_unavailable():
    class Broken(Backend):
        def get(self, array):
            return np.zeros_like(array)

    with pytest.raises(Unavailable, match="gave"):
        Broken("mine", "numpy").probe()


def test_there_is_a_row_for_cupy():
    assert BACKENDS["cupy"].library == "cupy"


def test_required_backends_are_read_by_id():
    assert required("") == set()
    assert required("numpy, torch") == {"numpy", "torch"}
    with pytest.raises(ValueError, match="no backend tensorflow; there are numpy, "):
        required("numpy,tensorflow")


def run_pytest(require, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *arguments],
        env=os.environ | {"PORTABLE_RNN_REQUIRE": require},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_unknown_id_is_a_usage_error():
    ended = run_pytest("tensorflow", "conformance/test_backends.py", "--collect-only")
    assert ended.returncode == pytest.ExitCode.USAGE_ERROR
    assert "no backend tensorflow" in ended.stdout + ended.stderr


def test_naming_an_absent_backend_is_a_failure():
    absent = [name for name in BACKENDS if why_not(name) is not None]
    if not absent:
        pytest.skip("every backend is here")
    chosen = "conformance/test_backends.py::test_equals_torch"
    ended = run_pytest(absent[0], f"{chosen}[elman-float64-{absent[0]}-0]")
    assert ended.returncode == pytest.ExitCode.TESTS_FAILED, ended.stdout
    assert "required, but not run: " in ended.stdout
