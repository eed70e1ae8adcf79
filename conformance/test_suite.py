"""The suite itself: it notices what it should, and never skips without a reason."""

import subprocess
import sys

import numpy as np
import pytest

from .backend import Backend, Unavailable
from .backends import BACKENDS
from .complex_step import directional, gradient
from .libraries import readonly, strided
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
        (np.ones(2), np.ones(2, dtype=np.float32)),  # a reference no more precise than the result
        (np.ones(2, dtype=np.int64), np.ones(2)),
        (np.ones(2), np.asarray([1.0, np.nan])),
        (np.ones(0), np.ones(0)),
        (np.full(2, 1e-300), np.zeros(2)),  # nothing is small compared with zero
    ],
)
def test_arrays_that_are_not_comparable_are_not_close(got, ref):
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


def run_pytest(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_unknown_id_is_a_usage_error():
    ended = run_pytest("conformance", "--backend", "tensorflow", "--collect-only")
    assert ended.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--backend: no row tensorflow; there are numpy, " in ended.stderr


def test_naming_a_backend_that_cannot_run_is_a_failure():
    # Of all rows this one runs nowhere: a library of that name does not exist.
    ended = run_pytest("conformance/test_losses.py", "--xp", "no_such_library", "-k", "extreme")
    assert ended.returncode == pytest.ExitCode.TESTS_FAILED, ended.stdout
    assert "named, but cannot run: no_such_library is not installed" in ended.stdout


def test_a_named_backend_on_which_nothing_ran_is_a_failure():
    ended = run_pytest("conformance/test_jax_compile.py", "--backend", "numpy")
    assert ended.returncode != 0, ended.stdout


MARKED = """
import pytest

def when_named(row, dtype):
    return row.id == "numpy" and dtype == "float32"

@pytest.mark.when_named
def test_it(backend, dtype):
    pass

@pytest.mark.when_named
def test_of_no_row():
    pass
"""


# Probing whether a library is installed takes longer than the test.
TWO_ROWS = """
from conformance.backends import BACKENDS
for name in BACKENDS.keys() - {"numpy", "jax"}:
    del BACKENDS[name]
from conformance.conftest import *
"""


def test_a_mark_of_a_test_does_not_hide_that_of_a_case(tmp_path):
    (tmp_path / "conftest.py").write_text(TWO_ROWS)
    (tmp_path / "test_marked.py").write_text(MARKED)

    def collected(*options):
        ended = run_pytest("--collect-only", "--import-mode=importlib", *options, tmp_path)
        lines = [line for line in ended.stdout.splitlines() if "test_marked.py::" in line]
        return {line.partition("[")[2].rstrip("]") or line.rpartition("::")[2] for line in lines}

    found, asked = collected(), collected("--backend=numpy,jax")
    assert "test_of_no_row" not in found | asked
    assert collected("--suite") == {"test_of_no_row"}
    assert {"numpy-float64", "numpy-float16"} <= found
    assert "numpy-float32" not in found
    assert not any(case.startswith("jax-") for case in found)
    assert {"numpy-float32", "numpy-float64"} <= asked
    assert any(case.startswith("jax-") for case in asked)


def test_a_row_that_is_named_leaves_the_tests_of_the_library_in():
    several = ("tests/test_schedules.py", "conformance/test_functions.py")
    ended = run_pytest(*several, "--backend=numpy", "--collect-only")
    assert all(f"{path}::" in ended.stdout for path in several)
    assert "conformance/test_suite.py" not in ended.stdout


@pytest.mark.parametrize("pattern", ["test_losses.py::no_such_test", "unnamed"])
def test_an_expected_failure_that_names_nothing_is_a_usage_error(tmp_path, pattern):
    (tmp_path / "xfails").write_text(f"# for a reason\n{pattern}\n")
    ended = run_pytest(
        "conformance/test_losses.py", "--backend", "numpy", "--xfails-file", tmp_path / "xfails"
    )
    assert ended.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"no test has {pattern!r} in its id" in ended.stderr


def test_a_module_by_its_import_name_and_a_broken_one():
    """As a third party would use it: a right library passes, an imprecise tanh is named."""
    chosen = ("conformance/test_gradients.py", "-k", "gru-default or gru-unbatched-readout")
    right = run_pytest(*chosen, "--xp", "conformance.examples.right")
    assert right.returncode == 0, right.stdout
    assert "9 passed" in right.stdout  # GRUs of four kinds in two dtypes, a pair of options in one
    broken = run_pytest(*chosen, "--xp", "conformance.examples.imprecise_tanh")
    assert broken.returncode == pytest.ExitCode.TESTS_FAILED
    for words in ("imprecise_tanh: outputs of gru-default", "off by", "eps of float64"):
        assert words in broken.stdout


@pytest.mark.oracle("array_api_strict")
def test_references_on_the_host_do_not_use_the_module_under_test():
    """The suite calls the library on NumPy too, in the middle of a run on arrays of others."""
    ended = run_pytest(
        *("conformance/test_dropout.py", "conformance/test_gradient_flow.py"),
        *("--xp", "array_api_strict", "-k", "float64 and (elman or same_masks)"),
    )
    assert ended.returncode == 0, ended.stdout
    assert "5 passed" in ended.stdout
