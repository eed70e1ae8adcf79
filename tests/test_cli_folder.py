"""The folder of a run: one process at a time, and only files of the run are changed."""

import errno
import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import safetensors.numpy

from portable_rnn._files.atomic import NO_CHECKSUM
from portable_rnn.cli import main
from portable_rnn.cli.lock import LOCK, locked
from portable_rnn.cli.settings import Settings
from portable_rnn.serialization import load_arrays, save_arrays

from .command import call
from .run_folder import TINY, contents, train, write_text

pytestmark = pytest.mark.no_products


@pytest.fixture
def text(tmp_path):
    return write_text(tmp_path / "text")


@pytest.fixture
def run(tmp_path, text):
    return train(tmp_path / "r", text)


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


def test_two_runs_that_begin_at_once_are_not_mixed(tmp_path, text):
    (tmp_path / "r").mkdir()
    with locked(tmp_path / "r"):
        code, shown = call("train", "--out", tmp_path / "r", "--text", text, *TINY)
    assert (code, "another process is training" in shown) == (2, True)
    assert contents(tmp_path / "r") == {}


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX's")
def test_a_killed_process_leaves_no_lock_held(tmp_path):
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


def test_a_lock_file_that_was_removed_meanwhile_is_created_again(tmp_path, monkeypatch):
    """Between opening and locking the file, the previous owner may have removed it."""
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


# ----------------------------------------------------------------------- leftovers


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
def test_a_run_that_fails_at_once_leaves_nothing_behind(tmp_path, text, options, words):
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


def test_a_folder_with_a_part_of_a_run_is_refused(run, text):
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


# ------------------------------------------------------------- reading and writing


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


def test_errors_of_settings_are_in_words(tmp_path, text):
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


def test_little_of_a_large_text_is_held_out_and_read_by_xz(tmp_path, monkeypatch):
    monkeypatch.setattr("portable_rnn.cli.train.HELD_OUT", 500)
    for module in ("text", "cli.train"):
        monkeypatch.setattr(f"portable_rnn.{module}.XZ_CHARACTERS", 1000)
    (long := tmp_path / "long").write_text("abcd efgh " * 1000)
    code, shown = call("train", "--out", tmp_path / "r", "--text", long, *TINY, "--steps", 1)
    assert (code, ", 500 held out" in shown) == (0, True)
    assert "xz, after reading its last 1,000 characters" in shown


@pytest.mark.parametrize("where", ["app.show_info", "train.train"])
def test_an_interruption_prints_one_word_and_how_to_go_on(run, monkeypatch, capsys, where):
    """During preparation, or by a second Ctrl-C."""

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


@pytest.mark.parametrize("command", [("sample",), ("train", "--resume", "--out")])
def test_files_without_a_checksum_are_refused_with_the_same_message(run, command):
    path = run / "config.json"
    config = json.loads(path.read_text())
    del config["crc32"]
    path.write_text(json.dumps(config))
    code, shown = call(*command, run)
    assert (code, f"config.json: {NO_CHECKSUM}; restore it from a copy" in shown) == (2, True), (
        shown
    )
    assert "or older than checksums" in NO_CHECKSUM


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
def test_settings_of_a_wrong_type_or_value_are_refused(options, words):
    with pytest.raises((TypeError, ValueError)) as caught:
        Settings(**options)
    assert words in str(caught.value)
