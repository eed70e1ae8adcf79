"""The folder of a run: one process at a time, nothing of others touched, nothing in the way."""

import contextlib
import errno
import io
import json
import os
import random
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from portable_rnn._files.atomic import NO_CHECKSUM
from portable_rnn.cli import main
from portable_rnn.cli.lock import LOCK, locked
from portable_rnn.cli.metrics import MetricsFile, read_metrics
from portable_rnn.cli.settings import Settings
from portable_rnn.serialization import CheckpointError, load_arrays, save_arrays

from .command import call

pytestmark = pytest.mark.no_products

TINY = ("--hidden", 4, "--batch-size", 2, "--window", 3)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text"
    path.write_text("".join(random.Random(0).choices(["The ", "cat ", "sat.\n"], k=200)))
    return path


@pytest.fixture
def run(tmp_path, text):
    code, shown = call("train", "--out", tmp_path / "r", "--text", text, *TINY, "--steps", 12)
    assert code == 0, shown
    return tmp_path / "r"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ------------------------------------------------------------------------------ the lock


def test_a_second_process_is_refused_and_touches_nothing(run, text):
    with locked(run):
        before = contents(run)
        for command in (("--out", run, "--resume"), ("--out", run, "--text", text, *TINY)):
            code, shown = call("train", *command)
            assert code == 2, shown
        assert "out: another process is training in" in call("train", "--out", run, "--resume")[1]
        assert contents(run) == before
    assert call("train", "--out", run, "--resume")[0] == 0


def test_two_that_begin_at_once_are_not_mixed(tmp_path, text):
    (tmp_path / "r").mkdir()
    with locked(tmp_path / "r"):
        code, shown = call("train", "--out", tmp_path / "r", "--text", text, *TINY)
    assert (code, "another process is training" in shown) == (2, True)
    assert contents(tmp_path / "r") == {}


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX's")
def test_a_killed_process_locks_nobody_out(tmp_path):
    hold = (
        "import os, pathlib, sys; from portable_rnn.cli.lock import locked\n"
        "with locked(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", hold, tmp_path], check=False)
    assert ended.returncode == -9
    assert (tmp_path / LOCK).exists()
    with locked(tmp_path), pytest.raises(ValueError, match="another process"), locked(tmp_path):
        pass
    assert not (tmp_path / LOCK).exists()


def test_a_lock_that_was_taken_away_meanwhile_is_taken_anew(tmp_path, monkeypatch):
    """Between opening the file and locking it, the one before may have removed it."""
    opened = os.open

    def late(path, *args):
        held = opened(path, *args)
        monkeypatch.setattr("os.open", opened)
        os.unlink(path)
        return held

    monkeypatch.setattr("os.open", late)
    with locked(tmp_path):
        assert (tmp_path / LOCK).exists()
        with pytest.raises(ValueError, match="another process"), locked(tmp_path):
            pass


# ------------------------------------------------------------------- what is left behind


def test_only_what_a_killed_save_left_is_cleared(run):
    ours = [f".{name}.0123abcd.part" for name in ("checkpoint.safetensors", "metrics.jsonl")]
    others = [
        ".film.part",
        "b.part",
        ".notes.0123abcd.part",
        ".config.json.part",
        ".metrics.jsonl.z",
    ]
    for name in ours + others:
        (run / name).write_bytes(b"x")
    assert call("train", "--out", run, "--resume")[0] == 0
    assert {name for name in (*ours, *others) if (run / name).exists()} == set(others)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--lr", "inf"), "lr: expected a number above 0, got inf"),
        (("--lr", "1e300", "--steps", 40), "loss: expected a finite number"),
        (("--hidden", 10**8), "hidden: expected a model that fits into"),
        (("--hidden", 10**17), "hidden: expected a model that fits into"),
        (("--layers", 10**9), "hidden: expected a model that fits into"),
        (("--hidden", 10**19), "hidden: expected an int of 64 bits"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_run_that_fails_at_once_is_not_in_the_way_of_the_next(tmp_path, text, options, words):
    out = tmp_path / "new" / "r"
    code, shown = call("train", "--out", out, "--text", text, *TINY, *options)
    assert code == 2, shown
    assert words in shown
    assert "Traceback" not in shown
    assert not out.parent.exists()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mine.txt").write_text("keep")
    call("train", "--out", tmp_path / "here", "--text", text, *TINY, *options)
    assert contents(tmp_path / "here") == {"mine.txt": b"keep"}


def test_a_part_of_a_run_is_not_taken_for_none(run, text):
    (run / "config.json").unlink()
    before = contents(run)
    code, shown = call("train", "--out", run, "--text", text, *TINY)
    assert (code, "without its config.json" in shown) == (2, True)
    assert contents(run) == before


@pytest.mark.parametrize(
    "command",
    [
        ("train", "--out", ""),
        ("train", "--text", ""),
        ("train", ""),
        ("sample", ""),
        ("book", "--from", ""),
        ("book", "--to", ""),
    ],
)
def test_an_empty_path_is_not_the_current_folder(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    code, shown = call(*command)
    assert (code, "expected a path, got ''" in shown) == (2, True), shown
    assert contents(tmp_path) == {}


# ------------------------------------------------------------------- what is read and written


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_not_sampled(run, number):
    params, header = load_arrays(run / "weights.safetensors")
    params["bias_hh_l0"][3] = number
    save_arrays(run / "weights.safetensors", params, header)
    code, shown = call("sample", run)
    assert code == 2
    assert "weights.safetensors: params['bias_hh_l0']: expected finite values, got 1 NaN" in shown


@pytest.mark.parametrize("change", ["damaged", "cut", "foreign", "of another run"])
def test_weights_that_are_not_of_the_run_are_refused_and_not_replaced(run, change):
    path = run / "weights.safetensors"
    params, header = load_arrays(path)
    if change == "foreign":
        path.write_bytes(safetensors.numpy.save(params))
    elif change == "of another run":
        save_arrays(path, params, header | {"config": "00000000"})
    else:
        content = path.read_bytes()
        path.write_bytes(content[:-9] if change == "cut" else content[:-1] + b"!")
    before = contents(run)
    code, shown = call("train", "--out", run, "--resume")
    assert code == 2, shown
    assert f"error: {path}: " in shown
    assert shown.endswith("or delete it, and --resume writes it anew\n")
    assert contents(run) == before
    path.unlink()
    assert call("train", "--out", run, "--resume")[0] == 0
    assert call("sample", run, "--length", 3)[0] == 0


def test_a_run_that_is_complete_says_that_there_is_nothing_to_do(run, text):
    before = (run / "checkpoint.safetensors").read_bytes()
    code, shown = call("train", "--out", run, "--resume")
    assert code == 0
    assert "nothing to do: this run has made all its 12 steps; for a longer one, begin" in shown
    assert (run / "checkpoint.safetensors").read_bytes() == before
    fresh = call("train", "--out", run / "n", "--text", text, *TINY, "--steps", 1)[1]
    assert "nothing to do" not in fresh


def test_settings_are_said_in_words(tmp_path, text):
    out = tmp_path / "r"
    call("train", "--out", out, "--text", text, *TINY, "--minutes", 1e-5)
    shown = call("train", "--out", out, "--resume", "--steps", 5)[1]
    assert "steps: expected no --steps, with which the run in" in shown
    shown = call("train", "--out", out, "--resume", "--text", "other")[1]
    assert f"text: expected {text}, with which the run in" in shown
    assert "other; leave the option out" in shown
    (out / "config.json").write_text("[1]")
    shown = call("train", "--out", out, "--resume")[1]
    assert "expected the configuration of a run (expected an object, got list)" in shown


def test_a_rate_too_large_is_one_error_without_warnings(tmp_path, text):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        code, shown = call("train", "--out", tmp_path / "r", "--text", text, *TINY, "--lr", 1e300)
    assert (code, "lower lr" in shown, "RuntimeWarning" in shown) == (2, True, False)
    assert not [w for w in warned if w.category is RuntimeWarning]


@pytest.mark.parametrize("where", ["app.show_info", "train.train"])
def test_an_interruption_is_one_word_and_says_how_to_go_on(run, monkeypatch, capsys, where):
    """While all is still prepared, or by a second Ctrl-C."""

    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"portable_rnn.cli.{where}", interrupted)
    words = ["info"] if where == "app.show_info" else ["train", "--out", str(run), "--resume"]
    monkeypatch.setattr("sys.argv", ["portable-rnn", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr()
    assert ended.value.code == 130
    assert shown.err.endswith("interrupted\n")
    assert "Traceback" not in shown.err
    assert (f"go on with: portable-rnn train --out {run} --resume" in shown.out) == (len(words) > 1)


def test_weights_of_another_model_are_not_sampled(run):
    params, header = load_arrays(run / "weights.safetensors")
    del params["bias_hh_l0"]
    save_arrays(run / "weights.safetensors", params, header)
    code, shown = call("sample", run)
    assert (code, "weights.safetensors: params: missing bias_hh_l0" in shown) == (2, True)


def test_a_full_disk_names_the_file(run, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = contents(run)
    monkeypatch.setattr("os.fsync", full)
    code, shown = call("train", "--out", run, "--resume")
    assert code == 2
    assert "No space left on device: " in shown
    assert "metrics.jsonl" in shown
    assert contents(run) == before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is Linux's")
def test_a_line_that_does_not_fit_names_its_file(tmp_path):
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


@pytest.mark.parametrize("command", [("sample",), ("train", "--resume", "--out")])
def test_files_without_a_checksum_are_said_to_be_old_in_the_same_words(run, command):
    path = run / "config.json"
    config = json.loads(path.read_text())
    del config["crc32"]
    path.write_text(json.dumps(config))
    code, shown = call(*command, run)
    assert (code, f"config.json: {NO_CHECKSUM}; restore it from a copy" in shown) == (2, True), (
        shown
    )
    assert "or older than checksums" in NO_CHECKSUM


@pytest.mark.parametrize("left", [0, 1, 2, None])
def test_a_run_goes_on_without_the_last_lines_of_its_metrics(run, left):
    """They are lost in a power cut; the checkpoint is as good as it was."""
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
    """Return the lines of a run that is like another in all but the seed."""
    out = run.with_name("other")
    code, shown = call("train", "--out", out, "--text", text, *TINY, "--steps", 12, "--seed", 1)
    assert code == 0, shown
    return (out / "metrics.jsonl").read_bytes().splitlines(keepends=True)


def test_lines_say_of_which_run_they_are(run):
    config = json.loads((run / "config.json").read_text())["crc32"]
    assert {line["config"] for line in read_metrics(run / "metrics.jsonl")} == {config}


@pytest.mark.parametrize("left", [1, 2, 3])
def test_metrics_of_another_run_are_refused(run, text, left):
    """Also where some lines are lost, so that the last one is not of the step of the checkpoint."""
    (run / "metrics.jsonl").write_bytes(b"".join(another_run(run, text)[:left]))
    before = contents(run)
    code, shown = call("train", "--out", run, "--resume")
    assert (code, "metrics.jsonl: is not of the run that config.json" in shown) == (2, True), shown
    assert contents(run) == before


def test_metrics_after_the_checkpoint_are_refused_if_they_are_of_another_run(run, text):
    """They would be dropped, as those of a run that was killed are."""
    (run / "checkpoint.safetensors").unlink()
    (run / "weights.safetensors").unlink()
    (run / "metrics.jsonl").write_bytes(b"".join(another_run(run, text)))
    code, shown = call("train", "--out", run, "--resume")
    assert (code, "metrics.jsonl: is not of the run that config.json" in shown) == (2, True), shown


def test_metrics_of_before_they_said_of_which_run_they_are(run):
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


def test_of_a_run_that_has_all_its_metrics_nothing_is_said(run):
    code, shown = call("train", "--out", run, "--resume")
    assert (code, "warning" in shown) == (0, False), shown


def test_metrics_that_lost_lines_are_compared_where_the_run_has_gone_on(tmp_path):
    """The validation loss of step 4 is lost for good, and those of training are there again."""
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


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hidden": "8"}, "hidden: expected an int, got '8'"),
        ({"steps": 2.5}, "steps: expected an int, got 2.5"),
        ({"lr": float("inf")}, "lr: expected a number above 0"),
        ({"lr": "0.1"}, "lr: expected a number above 0, got '0.1'"),
        ({"minutes": float("inf")}, "minutes: expected a number above 0"),
        ({"dropout": float("nan"), "layers": 2}, "dropout: expected a number in [0, 1)"),
        ({"text": [3]}, "text[0]: expected a text, got 3"),
        ({"text": "a"}, "text: expected a list of paths, got 'a'"),
        ({"device": 3}, "device: expected a text, got 3"),
        ({"backend": 3}, "backend: expected a text, got 3"),
        ({"cell": []}, "cell: expected 'elman', "),
        ({"dtype": "float16"}, "dtype: expected 'float32' or 'float64', got 'float16'"),
        ({"seed": True}, "seed: expected an int"),
    ],
)
def test_settings_are_what_they_are_called(options, words):
    with pytest.raises((TypeError, ValueError)) as caught:
        Settings(**options)
    assert words in str(caught.value)
