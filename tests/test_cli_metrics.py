"""The metrics file of a run: lost or damaged lines, and lines of another run."""

import contextlib
import io
import json
import os
import zlib
from pathlib import Path

import pytest

from portable_rnn.cli.metrics import MetricsFile, read_metrics
from portable_rnn.serialization import CheckpointError

from .command import call
from .run_folder import contents, train, write_text

pytestmark = pytest.mark.no_products


@pytest.fixture
def text(tmp_path):
    return write_text(tmp_path / "text")


@pytest.fixture
def run(tmp_path, text):
    return train(tmp_path / "r", text)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is Linux's")
def test_a_line_that_cannot_be_written_names_its_file(tmp_path):
    class Step:
        step, loss, learning_rate = 1, 0.5, 0.1

    with pytest.raises(OSError, match=r"No space left on device: '/dev/full'"):
        MetricsFile(Path("/dev/full"), "c0", 1).on_log(Step)


def test_a_line_cut_short_ends_the_metrics_and_a_damaged_one_is_refused(run):
    path = run / "metrics.jsonl"
    whole = path.read_bytes()
    lines = read_metrics(path)
    assert [line["step"] for line in lines] == [10, 12, 12]
    for short in (whole.splitlines()[0][:20], b"{", bytes(20), b'{"step": 1' + bytes(9)):
        path.write_bytes(whole + short)
        assert read_metrics(path) == lines
    for damaged in (
        b"123\n",
        whole[:-1] + b"\n123\n",
        whole.replace(b"12", b"13", 1),
        whole[10:],
        b"123",
        b"{}",
    ):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"metrics\.jsonl: line \d is damaged"):
            read_metrics(path)


@pytest.mark.parametrize("left", [0, 1, 2, None])
def test_a_run_goes_on_without_the_last_lines_of_its_metrics(run, left):
    """They may be lost in a power failure; the checkpoint is still valid."""
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    if left is None:
        path.unlink()
    else:
        path.write_bytes(b"".join(lines[:left]))
    before = contents(run)["checkpoint.safetensors"]
    code, shown = call("train", "--out", run, "--resume")
    assert code == 0, shown
    assert "metrics.jsonl: has lost its last lines, up to step 12; going on without" in shown
    assert path.read_bytes() == b"".join(lines[: left or 0])
    assert contents(run)["checkpoint.safetensors"] == before


def another_run(run, text):
    """Return the lines of a run that differs only in its seed."""
    out = train(run.with_name("other"), text, "--seed", 1)
    return (out / "metrics.jsonl").read_bytes().splitlines(keepends=True)


def test_lines_name_their_run(run):
    config = json.loads((run / "config.json").read_text())["crc32"]
    assert {line["config"] for line in read_metrics(run / "metrics.jsonl")} == {config}


@pytest.mark.parametrize("left", [1, 2, 3])
def test_metrics_of_another_run_are_refused(run, text, left):
    """Also where lines are lost, so that the last one is not of the step of the checkpoint."""
    (run / "metrics.jsonl").write_bytes(b"".join(another_run(run, text)[:left]))
    before = contents(run)
    code, shown = call("train", "--out", run, "--resume")
    assert (code, "metrics.jsonl: is not of the run that config.json" in shown) == (2, True), shown
    assert contents(run) == before


def test_metrics_after_the_checkpoint_are_refused_if_they_are_of_another_run(run, text):
    """Otherwise they would be dropped, as after a run that was killed."""
    (run / "checkpoint.safetensors").unlink()
    (run / "weights.safetensors").unlink()
    (run / "metrics.jsonl").write_bytes(b"".join(another_run(run, text)))
    code, shown = call("train", "--out", run, "--resume")
    assert (code, "metrics.jsonl: is not of the run that config.json" in shown) == (2, True), shown


def test_metrics_of_an_earlier_version_that_name_no_run_are_refused(run):
    path, before = run / "metrics.jsonl", 0
    lines = [{n: v for n, v in line.items() if n != "config"} for line in read_metrics(path)]
    old = []
    for line in lines:
        before = zlib.crc32(json.dumps(line).encode(), before)
        old.append(json.dumps(line | {"crc32": f"{before:08x}"}) + "\n")
    path.write_text("".join(old))
    assert read_metrics(path) == lines
    code, shown = call("train", "--out", run, "--resume")
    assert (code, "metrics.jsonl: was written by an earlier version" in shown) == (2, True), shown
    path.unlink()  # as the message says
    code, shown = call("train", "--out", run, "--resume")
    assert (code, "going on without them" in shown) == (0, True), shown


def test_a_run_with_all_its_metrics_has_no_warning(run):
    code, shown = call("train", "--out", run, "--resume")
    assert (code, "warning" in shown) == (0, False), shown


def test_metrics_that_lost_lines_are_compared_where_the_run_continued(tmp_path):
    """The validation loss of step 4 stays lost; training losses are written again."""
    path = tmp_path / "metrics.jsonl"

    class At:
        done, pending, learning_rate = False, (), 0.1

        def __init__(self, step, loss, evaluation):
            self.step, self.loss, self.evaluation = step, loss, evaluation

    def started(run):
        shown = io.StringIO()
        with contextlib.redirect_stderr(shown):
            metrics = MetricsFile(path, "c0", 4)
            metrics.on_start(run)
        return metrics, "has lost its last lines" in shown.getvalue()

    metrics, lost = started(At(4, 0.5, 0.75))
    assert lost
    metrics.on_log(At(6, 0.25, 0.75))
    assert started(At(6, 0.25, 0.75))[1]
    for other in (At(6, 0.3, 0.75), At(6, float("nan"), 0.75)):
        with pytest.raises(CheckpointError, match="is not of this run"):
            started(other)
    metrics, _ = started(At(6, 0.25, 0.75))
    metrics.on_log(At(8, 0.125, 0.75))
    metrics.on_evaluate(At(8, 0.125, 0.5))
    assert not started(At(8, 0.125, 0.5))[1]
    with pytest.raises(CheckpointError, match="is not of this run"):
        started(At(8, 0.125, 0.6))


def test_a_line_is_on_the_disk_before_the_run_goes_on(tmp_path, monkeypatch):
    class Step:
        step, loss, learning_rate = 1, 0.5, 0.1

    path, synced = tmp_path / "metrics.jsonl", []
    monkeypatch.setattr("os.fsync", lambda descriptor: synced.append(path.read_bytes()))
    MetricsFile(path, "c0", 1).on_log(Step)
    assert synced == [path.read_bytes()]
    assert synced[0].endswith(b"\n")
