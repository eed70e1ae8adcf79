"""The command line, from outside: what it writes, prints and refuses, and how it is stopped."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest

from portable_rnn.cli.metrics import read_metrics

from . import command

pytestmark = pytest.mark.no_products

TINY = ("--hidden", "8", "--batch-size", "4", "--window", "8")
FILES = {"config.json", "metrics.jsonl", "weights.safetensors", "checkpoint.safetensors"}
PREVIOUS = "checkpoint.safetensors.previous"
COMMAND = (sys.executable, "-c", "from portable_rnn.cli import main; main()")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "story.txt"
    words = random.Random(0).choices(["The ", "cat ", "sat ", "on ", "mats.\n"], k=600)
    path.write_text("".join(words), encoding="utf-8")
    return path


def call(*args, code=0):
    done = command.run(*args, COLUMNS="100", NO_COLOR="1")
    assert done.returncode == code, done.stdout + done.stderr
    return done


def train(out, *args, code=0, text=None):
    source = () if text is None else ("--text", text)
    return call("train", "--out", out, *source, *args, code=code)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, text):
    out = tmp_path_factory.mktemp("runs") / "whole"
    return out, train(out, *TINY, "--steps", "120", text=text)


def test_train_writes_the_run_and_shows_what_it_reached(finished):
    out, done = finished
    assert {p.name for p in out.iterdir()} - {"loss.png", PREVIOUS} == FILES
    for words in ("unigram", "bigram", "xz", "this network", "a sample", str(out)):
        assert words in done.stdout
    metrics = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    training = [m["training_bits"] for m in metrics if "training_bits" in m]
    assert len(training) == 12
    assert training[-1] < 0.8 * training[0]
    assert [m["step"] for m in metrics if "validation_bits" in m] == [120]
    assert json.loads((out / "config.json").read_text())["model"]["cell"] == "gru"


def test_the_curve_is_drawn_or_its_absence_explained(finished):
    out, done = finished
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        assert "loss.png is not drawn" in done.stdout
    else:
        assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_sample_continues_the_prompt_and_repeats_itself_by_seed(finished):
    out, _ = finished
    first = call("sample", out, "--prompt", "The cat", "--length", "40").stdout
    assert first.startswith("The cat")
    assert len(first) == len("The cat") + 40 + 1
    assert first == call("sample", out, "--prompt", "The cat", "--length", "40").stdout
    assert (
        first != call("sample", out, "--prompt", "The cat", "--length", "40", "--seed", "1").stdout
    )


def test_info_names_every_backend_and_the_blas():
    shown = call("info").stdout
    for words in ("portable-rnn", "numpy", "cupy", "torch", "jax", "threads"):
        assert words in shown


def test_minutes_end_a_run_that_can_go_on(tmp_path, text):
    done = train(tmp_path / "r", *TINY, "--minutes", "0.02", text=text)
    assert "0.02 minutes are over" in done.stdout
    assert "--resume" in done.stdout


def test_a_run_stopped_early_still_shows_what_it_reached(tmp_path, text):
    done = train(tmp_path / "r", *TINY, "--minutes", "0.001", text=text)
    for words in ("bigram", "this network", "a sample"):
        assert words in done.stdout


def test_several_files_with_names_like_markup_are_read(tmp_path):
    first, second = tmp_path / "[b]a.txt", tmp_path / "b c.txt"
    first.write_text("GATTACA" * 200)
    second.write_text("CATTAG" * 200)
    out = tmp_path / "r[/b] x"
    done = train(out, *TINY, "--steps", "3", "--text", first, second)
    assert "[b]a.txt" in done.stdout
    assert f"portable-rnn sample '{out}' --prompt " in done.stdout.replace("\n", " ")
    config = json.loads((out / "config.json").read_text())
    assert config["settings"]["text"] == [str(first), str(second)]
    assert set(config["vocabulary"]) == set("GATC\n")


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path, text):
    out = tmp_path / "r"
    args = [*COMMAND, "train", "--out", out, "--text", text, *TINY, "--steps", "120000"]
    process = subprocess.Popen(
        list(map(str, args)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    wait_for_step(out, 30)
    process.send_signal(signal.SIGINT)
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 0, shown
    assert "interrupted" in shown
    assert f"portable-rnn train --out {out} --resume" in shown.replace("\n", " ")
    assert (out / "checkpoint.safetensors").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--cell", "rnn"), "cell: expected 'elman', 'gru', 'lstm', "),
        (("--hidden", "0"), "hidden: expected at least 1, got 0"),
        (("--steps", "-1"), "steps: expected at least 1, got -1"),
        (("--minutes", "0"), "minutes: expected a number above 0, got 0.0"),
        (("--dtype", "float16"), "dtype: expected 'float32' or 'float64', got 'float16'"),
        (
            ("--backend", "mxnet"),
            "backend: expected 'numpy', 'cupy', 'torch' or 'jax', got 'mxnet'",
        ),
        (("--device", "cuda"), "device: NumPy has only 'cpu', got 'cuda'"),
        (("--lr", "nan"), "lr: expected a number above 0, got nan"),
        (("--window", "5000"), "text: expected at least"),
        (("--text", "/no/such/file"), "text: cannot read /no/such/file"),
        (("--resume",), "there is no run in this folder"),
    ],
)
def test_bad_options_are_one_line_and_leave_nothing_behind(tmp_path, text, args, words):
    out, source = tmp_path / "r", () if "--text" in args else ("--text", text)
    status, shown = command.call("train", "--out", out, *source, *args, COLUMNS="100", NO_COLOR="1")
    error = " ".join(shown.split())
    assert status == 2
    assert error.startswith("error:")
    assert words in error
    assert "Traceback" not in shown
    assert not out.exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--hidden", "8"), "already holds a run; pass --resume"),
        (("--resume", "--hidden", "9"), "hidden: expected 8, with which the run in"),
        (("--resume", "--cell", "lstm"), "cell: expected gru, with which the run in"),
        (("--resume", "--seed", "3"), "seed: expected 0, with which the run in"),
        (("--resume", "--device", "cpu"), "device: expected no --device, with which the run in"),
        (("--resume", "--steps", "130"), "was begun, for its learning rate falls until its last"),
    ],
)
def test_a_run_is_never_overwritten_by_another(finished, args, words):
    out, _ = finished
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    done = train(out, *args, code=2)
    assert words in " ".join(done.stderr.split())
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "config.json"])
def test_a_damaged_folder_is_refused_and_kept(finished, tmp_path, name):
    out = tmp_path / "copy"
    out.mkdir()
    for path in finished[0].iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    damaged = (out / name).read_bytes()[:-40]
    (out / name).write_bytes(damaged)
    done = train(out, "--resume", code=2)
    assert name in done.stderr
    assert (out / name).read_bytes() == damaged


def test_a_changed_text_is_not_resumed(tmp_path, text):
    copy = tmp_path / "story.txt"
    copy.write_text(text.read_text())
    train(tmp_path / "r", *TINY, "--steps", "10", text=copy)
    copy.write_text(text.read_text().replace("cat", "dog"))
    done = train(tmp_path / "r", "--resume", code=2)
    assert "text: the run in" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--prompt", "§"), "got ['§']"),
        (("--temperature", "-1"), "temperature: expected a number of at least 0"),
    ],
)
def test_sample_refuses_what_it_cannot_read(finished, args, words):
    done = call("sample", finished[0], *args, code=2)
    assert words in " ".join(done.stderr.split())


def test_sample_of_an_empty_folder(tmp_path):
    assert "there is no run" in " ".join(call("sample", tmp_path, code=2).stderr.split())


def wait_for_step(out, step):
    """Wait until a run has logged a step, or one after it."""
    metrics = out / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if max((line["step"] for line in read_metrics(metrics)), default=0) >= step:
            return
        time.sleep(0.01)
    raise AssertionError(f"no step {step} in {metrics} within a minute")


def test_layers_and_dropout_are_kept_with_the_run(tmp_path, text):
    out = tmp_path / "deep"
    done = train(out, *TINY, "--layers", "2", "--dropout", "0.2", "--steps", "6", text=text)
    assert "2 layers of 8 hidden units" in done.stdout
    model = json.loads((out / "config.json").read_text())["model"]
    assert (model["num_layers"], model["dropout"]) == (2, 0.2)
    assert call("sample", out, "--length", "5").stdout.strip()
    for words, *options in (
        ("dropout: expected a number in [0, 1), got 1", "--dropout", "1", "--layers", "2"),
        ("dropout: acts between layers", "--dropout", "0.2"),
        ("layers: expected at least 1, got 0", "--layers", "0"),
    ):
        refused = train(tmp_path / "no", *TINY, *options, code=2, text=text)
        assert words in refused.stderr
