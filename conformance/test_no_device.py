"""CuPy installed without a GPU: NumPy works, and every failure gives the reason.

Devices are hidden from the processes that are started here, so this runs on every machine that has
CuPy's wheel.
"""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.rows("cupy-no-device")

REASON = "no CUDA device"


def run(*command):
    return subprocess.run(
        command,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def suite(row, *arguments):
    cases = f"elman-default and {row}-float64"
    quiet = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", cases)
    return run(sys.executable, "-m", "pytest", "conformance/test_gradients.py", *quiet, *arguments)


def test_numpy_trains_where_cupy_is_installed(backend):
    code = """
import cupy, numpy as np, portable_rnn as prnn
model = prnn.RNN(input_size=2, hidden_size=3, output_size=2)
x, targets = np.ones((4, 5, 2)), np.zeros((4, 5), dtype=int)
batches = prnn.batches.Shuffled(x, targets, batch_size=5)
done = prnn.training.train(model, model.init(seed=0, dtype="float64"), batches, steps=20, lr=0.1)
print(type(done.params["weight_hh_l0"]).__module__, done.loss)
"""
    ended = run(sys.executable, "-W", "error", "-c", code)
    assert ended.returncode == 0, ended.stderr
    module, loss = ended.stdout.split()
    assert module == "numpy"
    assert float(loss) < 0.6


def test_rows_of_cupy_are_not_run_and_give_the_reason(backend, tmp_path):
    ended = suite("numpy", f"--report-json={tmp_path / 'report.json'}")
    assert ended.returncode == 0, ended.stdout
    rows = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["rows"]
    rows = {row["backend"]: row for row in rows}
    assert rows["numpy"]["status"] == "ran"
    for name in ("cupy", "cupy-stream"):
        assert (rows[name]["status"], rows[name]["reason"]) == ("not run", REASON)
    (line,) = [line for line in ended.stdout.splitlines() if "cupy-stream " in line]
    assert REASON in line


@pytest.mark.parametrize("row", ["cupy", "cupy-stream"])
def test_a_named_row_of_cupy_fails_with_the_reason(backend, row):
    ended = suite(row, "--backend", row)
    assert ended.returncode == pytest.ExitCode.TESTS_FAILED, ended.stdout
    assert f"named, but cannot run: {REASON}" in ended.stdout
    assert " passed" not in ended.stdout


def test_the_command_line_gives_the_reason_in_one_line(backend, tmp_path):
    pytest.importorskip("typer", reason="not run: typer, for the command line, is not installed")
    command = "import portable_rnn.cli; portable_rnn.cli.main()"
    ended = run(sys.executable, "-c", command, "train", str(tmp_path), "--backend", "cupy")
    assert ended.returncode != 0
    (line,) = ended.stderr.splitlines()
    assert REASON in line
    assert "Traceback" not in ended.stdout


def test_info_lists_cupy_with_the_reason(backend):
    pytest.importorskip("typer", reason="not run: typer, for the command line, is not installed")
    ended = run(sys.executable, "-c", "import portable_rnn.cli; portable_rnn.cli.main()", "info")
    assert ended.returncode == 0, ended.stderr
    (line,) = [line for line in ended.stdout.splitlines() if "cupy" in line and "device" in line]
    assert REASON in line
