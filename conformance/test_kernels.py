"""The product that stands for every BLAS, and the command that runs tests under several of them."""

import subprocess
import sys

import numpy as np
import pytest

import portable_rnn as prnn

from . import kernels
from .any_blas import in_place_of_numpys, matmul
from .tolerances import EPS


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex128"])
def test_a_product_has_small_errors_in_some_places(dtype):
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(shape).astype(dtype) for shape in ((40, 30), (30, 50)))
    a[3, :] = 0.0
    got, plain = matmul(a, b), a @ b
    assert got.dtype == plain.dtype
    assert not np.any(got[3])
    eps = EPS.get(dtype, EPS["float64"])
    off, size = (np.abs(array).astype("float64") for array in (got - plain, plain))
    assert np.all(off <= 1.5 * eps * size)  # one eps of error, and half of one of rounding
    assert 0.1 < np.mean(got != plain) < 0.15
    assert matmul(a, b).tobytes() == got.tobytes()


def test_a_product_of_integers_and_one_without_rows_are_numpys():
    ones = np.ones((2, 3), dtype=np.int64)
    assert np.array_equal(matmul(ones, ones.T), ones @ ones.T)
    assert matmul(np.zeros((0, 3)), np.zeros((3, 4))).shape == (0, 4)


def test_a_large_product_has_errors_in_every_row():
    moved = matmul(np.ones((3000, 1)), np.ones((1, 700))) != 1.0
    assert np.all(np.abs(moved.mean(axis=1) - 1 / 8) < 0.1)


def test_rounding_of_rows_depends_on_their_number():
    """No kernel promises equal rounding, so this product must not have it either."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((24, 30)), rng.standard_normal((30, 50))
    assert not np.array_equal(matmul(a, b)[:23], matmul(a[:23], b))


def test_the_library_uses_the_product_where_it_replaces_numpys():
    model = prnn.RNN(3, 8, cell="gru")
    params, x = model.init(seed=0), np.ones((20, 4, 3), dtype=np.float32)
    plain = prnn.predict(model, params, x)
    with in_place_of_numpys():
        assert not np.array_equal(prnn.predict(model, params, x), plain)
    assert np.array_equal(prnn.predict(model, params, x), plain)


def test_a_kernel_is_listed_once_and_only_where_the_processor_has_its_instructions(monkeypatch):
    same = {"Haswell": "Haswell", "Zen": "Haswell", "SkylakeX": "SkylakeX", "Nehalem": "Nehalem"}
    monkeypatch.setattr(kernels, "taken", lambda name: same[name])
    monkeypatch.setattr(kernels, "flags", lambda: {"avx2", "fma", "sse4_2"})
    assert kernels.available() == {"Nehalem": "Nehalem", "Haswell": "Haswell"}
    monkeypatch.setattr(kernels, "flags", set)
    assert kernels.available() == {}


@pytest.mark.skipif(
    not kernels.flags() >= kernels.KERNELS["Haswell"],
    reason="not run: not an x86 processor with AVX2",
)
def test_the_requested_kernel_is_used(monkeypatch):
    """Also where the environment selects another."""
    if not kernels.taken(None) or kernels.taken("Haswell") == kernels.taken("Prescott"):
        pytest.skip("not run: NumPy has no OpenBLAS here whose kernels can be chosen")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    assert kernels.taken("Haswell") == "Haswell"
    assert "Haswell" in kernels.available()


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], [("a", 1), ("a", 2), ("b", 1), ("b", 2), ("c", 1), ("c", 2), ("any", 1)]),
        (["--threads=1", "--other"], [("b and any", 1)]),
        (["--threads=2", "--kernel=Zen"], [("c", 2)]),
    ],
)
def test_options_choose_the_runs(arguments, wanted, monkeypatch):
    told = {"Zen": "c", None: "c"}  # the machine takes c
    monkeypatch.setattr(kernels, "taken", lambda name: told[name])
    monkeypatch.setattr(kernels, "available", lambda: {"a": "A", "b": "B", "c": "C"})
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    ran = []

    def run(one, told):
        ran.append((one.title.replace(kernels.ANY_BLAS, "any"), one.threads))
        assert one.any_blas == ("any" in ran[-1][0])
        assert told == ["tests"]
        return int(one.title.startswith("b")), "1 passed"

    monkeypatch.setattr(kernels, "run", run)
    monkeypatch.setattr(sys, "argv", ["kernels", *arguments])
    assert kernels.main() == int(any(title.startswith("b") for title, _ in wanted))
    assert ran == wanted


def test_without_another_kernel_the_emulated_one_runs(monkeypatch, capsys):
    monkeypatch.setattr(kernels, "taken", lambda name: "")
    monkeypatch.setattr(kernels, "available", dict)
    ran = []
    monkeypatch.setattr(kernels, "run", lambda one, told: (ran.append(one), (0, ""))[1])
    monkeypatch.setattr(sys, "argv", ["kernels", "--other", "--threads=1"])
    assert kernels.main() == 0
    assert [(one.title, one.any_blas) for one in ran] == [(kernels.ANY_BLAS, True)]
    assert "no kernel to choose" in capsys.readouterr().out


def test_a_transposed_matrix_may_round_differently():
    a, b = np.random.default_rng(0).standard_normal((2, 24, 24))
    plain = matmul(a, b)
    assert not np.array_equal(matmul(np.asfortranarray(a), b), plain)
    # The distance of rows in memory does not matter.
    assert np.array_equal(matmul(np.hstack([a, a])[:, :24], b), plain)


def test_a_test_that_relies_on_a_kernel_fails(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import numpy as np\n"
        "import portable_rnn as prnn\n"
        "def test_rows():\n"
        "    model = prnn.RNN(30, 20)\n"
        "    params, x = model.init(seed=0), np.random.default_rng(0).random((1, 24, 30), 'f4')\n"
        "    whole = prnn.predict(model, params, x)\n"
        "    assert np.array_equal(prnn.predict(model, params, x[:, :23]), whole[:, :23])\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "conformance.any_blas"]
    ended = subprocess.run(
        [*command, str(tmp_path)], cwd=kernels.ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == pytest.ExitCode.TESTS_FAILED, ended.stdout
    assert "1 failed" in ended.stdout
