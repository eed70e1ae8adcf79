"""`nox -s gpu`: rehearsed on the emulated device, and what happens where something fails."""

import json
import os
import re
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from benchmarks.gpu import counting, page, runner, sanitizer, settings, suite, times
from benchmarks.gpu.floor import floor
from benchmarks.gpu.runner import STAGES, Stage
from conformance.cuda_on_host import build

pytestmark = pytest.mark.no_products

ROOT = Path(__file__).parent.parent
NAMES = [stage.name for stage in STAGES]


def command(*options, **environment):
    words = (sys.executable, "-m", "benchmarks.gpu", *map(str, options))
    environment = {**os.environ, **environment}
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)


def ends(pid):
    """Return whether a process ends within five seconds; one that nobody waits for has ended."""
    for _ in range(50):
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.1)
    return False


def emulation():
    """Skip where the device cannot be emulated, and outside of `nox -s gpu_rehearsal`."""
    if "REHEARSE" not in os.environ:
        pytest.skip("not run: nox -s gpu_rehearsal")
    absent = [name for name in ("cupy", "torch", "jax") if find_spec(name) is None]
    if absent or sys.platform != "linux" or build.compiler() is None:
        pytest.skip(f"needs {', '.join(absent) or 'a C++ compiler, on Linux'}: gpu_rehearsal")


# --------------------------------------------------------------------------- the rehearsal


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory):
    emulation()
    folder = tmp_path_factory.mktemp("gpu")
    done = command("--rehearse", f"--out={folder}")
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = folder.glob("*.json")
    return json.loads(record.read_text(encoding="utf-8")), record


def test_a_rehearsal_runs_all_stages(rehearsal):
    record, _ = rehearsal
    assert list(record["stages"]) == NAMES
    statuses = {name: stage["status"] for name, stage in record["stages"].items()}
    assert statuses.pop("sanitizer") in ("ok", "not available")
    assert set(statuses.values()) == {"ok"}
    assert all(stage["seconds"] > 0 for stage in record["stages"].values())


def test_a_rehearsal_is_not_taken_for_a_record(rehearsal):
    record, path = rehearsal
    assert (record["kind"], record["emulated"]) == ("rehearsal", True)
    assert path.name.startswith("rehearsal-")
    text = path.with_suffix(".md").read_text(encoding="utf-8")
    assert text.startswith("# Rehearsal on an emulated device")
    parts = text.split("\n## ")
    assert len(parts) == 2 + len(NAMES)
    for part in parts[2:]:  # each table of results says it again
        assert page.NO_GPU in part
    assert not re.search(r"(?<!emulated) µs", text)


def test_a_rehearsal_finds_something_in_every_stage(rehearsal):
    found = {name: stage["found"] for name, stage in rehearsal[0]["stages"].items()}
    assert "emulated" in found["device"]["name"]
    assert sum(result["passed"] for result in found["suite"]["results"]) > 4
    assert all(0 <= row["error_eps"]["eager"] < 16 for row in found["agreement"]["rows"])
    assert all(row["counts"]["kernel"] > 0 for row in found["contracts"]["rows"])
    assert found["contracts"]["control"].keys() >= {"kernel", "h2d", "d2h", "sync"}
    assert [row["blocks"] for row in found["micro"]["cluster_barriers"]] == [1, 2, 4, 8]
    assert found["micro"]["launches"]["host_us"] > 0
    for row in found["times"]["rows"]:
        assert {"eager", "torch.nn float32", "jax.grad float32"} <= row["clock_us_per_step"].keys()
        low, middle, high = (row["ratios"]["eager"]["torch.nn float32"][i] for i in (1, 0, 2))
        assert 0 < low <= middle <= high
    assert found["sanitizer"]["alone"]["status"] == 0


def test_every_field_of_a_rehearsal_is_in_the_schema(rehearsal):
    text = (ROOT / "benchmarks" / "gpu" / "schema.md").read_text(encoding="utf-8")
    known = set(re.findall(r"`(\w+)`", text))
    record, _ = rehearsal
    used = set(record) | {key for stage in record["stages"].values() for key in stage}
    for stage in record["stages"].values():
        used |= set(stage["found"])
        used |= {key for row in stage["found"].get("rows", []) if type(row) is dict for key in row}
    assert not used - known


def test_a_contender_that_is_off_is_not_timed(tmp_path):
    emulation()
    stage = Stage("off", "tests.gpu_stages.off", 2)
    found = runner.run_stage(stage, tmp_path / "log.txt", rehearse=True)["found"]
    assert found["off"]["eager"].startswith("off by ")
    assert "eager" not in found["clock_us_per_step"]
    assert "torch.nn float32" in found["clock_us_per_step"]


def test_a_call_that_waits_breaks_a_contract(tmp_path):
    emulation()
    stage = Stage("waits", "tests.gpu_stages.waits", 2)
    found = runner.run_stage(stage, tmp_path / "log.txt", rehearse=True)
    assert found["status"] == "failed"
    problems = found["found"]["problems"]
    assert problems
    assert all(problem.startswith("reads of elman, ") for problem in problems)
    assert "'d2h': 12" in problems[0]


def test_an_executor_that_differs_is_a_problem(tmp_path):
    emulation()
    stage = Stage("differs", "tests.gpu_stages.differs", 2)
    problems = runner.run_stage(stage, tmp_path / "log.txt", rehearse=True)["found"]["problems"]
    assert any("fused is off by" in problem for problem in problems)
    assert any("fused has other bits in its second run" in problem for problem in problems)
    assert not any("eager" in problem for problem in problems)


def test_a_rehearsal_without_a_compiler_says_so(tmp_path):
    if find_spec("cupy") is None:
        pytest.skip("needs cupy: gpu_rehearsal")
    done = command("--rehearse", f"--out={tmp_path / 'out'}", CXX="no-such-compiler", PATH="")
    assert done.returncode == 77
    assert "no C++ compiler" in done.stderr or "it is for Linux" in done.stderr


# ----------------------------------------------------------------------- what goes wrong


def test_a_stage_that_fails_does_not_stop_the_others(tmp_path):
    stages = [Stage(name, f"tests.gpu_stages.{name}", 1.0) for name in ("works", "breaks", "dies")]
    stages += [Stage("hangs", "tests.gpu_stages.hangs", 12 / 60)]
    stages += [Stage("after", "tests.gpu_stages.works"), Stage("none", "tests.gpu_stages.none")]
    found = runner.record(stages, tmp_path, rehearse=False)["stages"]
    assert {name: stage["status"] for name, stage in found.items()} == {
        "works": "ok",
        "breaks": "failed",
        "dies": "failed",
        "hangs": "failed",
        "after": "ok",
        "none": "failed",
    }
    assert found["breaks"]["reason"] == "RuntimeError: a wrong kernel"
    assert found["dies"]["reason"] == "its process ended with 11; see dies.txt"
    assert found["hangs"]["reason"] == "ended after 0.2 minutes; see hangs.txt"
    # What they had found is kept.
    kept = [found[name]["found"] for name in ("breaks", "dies", "hangs")]
    assert [each["half"] for each in kept] == [1, 2, 3]
    assert ends(kept[2]["pid"]), "what a stage started is ended with it"


def test_without_a_device_the_command_ends_with_77_and_the_reason(tmp_path):
    done = command(f"--out={tmp_path / 'out'}", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 77
    assert re.search(r"^no CUDA device: \S", done.stderr, re.MULTILINE)
    assert not (tmp_path / "out").exists()


def test_an_unknown_stage_is_named():
    done = command("--only=suite,sweet")
    assert done.returncode == 2
    assert "--only: expected some of device, suite" in done.stderr
    assert "got sweet" in done.stderr


def test_a_suite_that_failed_is_a_problem():
    result = {"backend": "cupy", "dtype": "float32", "passed": 7, "failed": 1, "error": 1}
    note = {"backend": "cupy", "dtype": "float32", "reason": "", "tests": ["a"]}
    document = {
        "results": [result, result | {"backend": "numpy"}],
        "notes": [note | {"outcome": outcome} for outcome in ("failed", "error", "skipped")],
        "rows": [{"backend": "cupy", "status": "ran"}, {"backend": "more", "status": "not run"}],
    }
    found = suite.summary(document, ["cupy", "more"])
    assert found["results"] == [result]
    assert len(found["failures"]) == 2
    assert found["problems"] == ["row more did not run", "2 tests failed on cupy, float32"]


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell script")
@pytest.mark.parametrize(("status", "problems"), [(0, []), (99, ["memcheck", "synccheck"])])
def test_what_a_sanitizer_finds_is_a_problem(tmp_path, monkeypatch, status, problems):
    tool = tmp_path / "compute-sanitizer"
    summary = f"========= ERROR SUMMARY: {status} errors"
    other = 'case "$1" in *racecheck) exit 0;; esac'
    tool.write_text(f'#!/bin/sh\necho "{summary}"\n{other}\nexit {status}\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    alone = {"status": 0, "errors": None, "last_lines": []}
    real = sanitizer.watched
    monkeypatch.setattr(
        sanitizer, "watched", lambda words: real(words) if words[0] == str(tool) else alone
    )
    found = sanitizer.run(settings.REHEARSAL, lambda found: None)
    assert found["problems"] == [f"{name} ended with 99" for name in problems]
    assert [each["errors"] for each in found["tools"].values()] == [status] * 3


# ------------------------------------------------------------------------------- figures


@pytest.mark.parametrize(
    ("name", "on_device", "kind"),
    [
        ("Memcpy HtoD (Pageable -> Device)", True, "h2d"),
        ("Memcpy DtoH (Device -> Pinned)", True, "d2h"),
        ("Memcpy DtoD (Device -> Device)", True, "d2d"),
        ("Memset (Device)", True, "memset"),
        ("cupy_add__float32_float32_float32", True, "kernel"),
        ("Stream Sync", True, ""),
        ("cudaStreamSynchronize", False, "sync"),
        ("cuCtxSynchronize", False, "sync"),
        ("cudaEventQuery", False, "query"),
        ("cudaLaunchKernel", False, ""),
        ("aten::add", False, ""),
    ],
)
def test_events_of_the_profiler_are_told_apart(name, on_device, kind):
    assert counting.classify(name, on_device) == kind


def test_ratios_are_by_events_if_both_have_them():
    found = times.summary(
        {
            "eager": [(1.0, 2.0), (2.0, 4.0), (1.0, 2.0)],
            "torch.nn float32": [(3.0, 30.0), (4.0, 40.0), (1.0, 10.0)],
            "jax.grad float32": [(None, 1.0), (None, 1.0), (None, 1.0)],
        },
        steps=2,
        own=["eager"],
    )
    assert found["ratios"]["eager"]["torch.nn float32"] == [2.0, 1.0, 3.0]
    assert found["ratios"]["eager"]["jax.grad float32"] == [0.5, 0.25, 0.5]
    assert found["events_us_per_step"] == {"eager": 0.5e6, "torch.nn float32": 1.5e6}
    assert found["clock_us_per_step"]["jax.grad float32"] == 0.5e6


# Of an LSTM on an H100, µs a step: forward, and forward and backward, in three precisions. Computed
# on its own, by hand, before this function was written.
FLOOR = """
1 1024 1.0 2.1 1.0 2.1 1.1 2.8
1 2048 1.4 3.0 7.6 15.5 8.0 18
16 128 1.0 2.0 1.0 2.1 1.0 2.2
16 256 1.0 2.1 1.1 2.2 1.1 2.8
16 512 1.1 2.3 1.1 2.6 1.6 5.4
16 1024 1.2 3.0 1.3 4.0 3.2 15
16 2048 2.1 6.8 8.8 23 16 69
64 128 1.1 2.2 1.1 2.3 1.1 2.8
64 256 1.1 2.4 1.2 2.8 1.6 5.4
64 512 1.2 3.1 1.4 4.3 3.2 15
64 1024 1.7 6.0 2.3 10 9.9 56
64 2048 4.1 19 13 47 43 230
256 128 1.2 2.6 1.4 3.3 1.6 5.4
256 256 1.4 3.6 1.9 5.2 3.2 15
256 512 1.9 6.5 2.7 11 9.9 56
256 1024 3.7 18 6.4 34 37 217
256 2048 12 67 29 144 151 874
"""


@pytest.mark.parametrize("line", FLOOR.split("\n")[1:-1])
def test_the_floor_is_that_of_the_table(line):
    batch, hidden, *want = line.split()
    for i, precision in enumerate(("bfloat16", "tf32", "float32")):
        found = floor("lstm", int(batch), int(hidden), precision)
        for got, said in zip(found, want[2 * i : 2 * i + 2], strict=True):
            # Half a unit of the last digit that is given, and a hundredth for rates as rounded.
            unit = 10.0 ** -len(said.partition(".")[2])
            assert abs(got - float(said)) <= 0.5 * unit + 0.01 * got, (line, precision, got)


def test_the_floor_of_cells_with_fewer_gates_is_lower():
    elman, gru, lstm = (floor(cell, 64, 1024, "float32")[1] for cell in ("elman", "gru", "lstm"))
    above = [each - 2.0 for each in (elman, gru, lstm)]  # what is not waiting
    assert above[1] == pytest.approx(0.75 * above[2], rel=0.02)
    assert above[0] == pytest.approx(0.25 * above[2], rel=0.02)
