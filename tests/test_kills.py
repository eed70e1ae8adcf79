"""Runs that are killed, stopped or cut off at any moment end with the bits of a whole run."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from portable_rnn.cli.metrics import read_metrics
from portable_rnn.serialization import load_arrays, load_weights

from . import command
from .campaign import FULL, times

pytestmark = [
    pytest.mark.no_products,
    pytest.mark.reliability,
    pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's"),
]

ROOT = Path(__file__).parents[1]
COMMAND = (sys.executable, "-c", "from portable_rnn.cli import main; main()")
TINY = ("--hidden", "8", "--batch-size", "4", "--window", "8")
BOUND = 120  # seconds, for every wait
KILLS = times(4, 300)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "story.txt"
    path.write_text("".join(random.Random(0).choices(["The ", "cat ", "sat ", "on.\n"], k=600)))
    return path


class Folder:
    """A run of the command line, in processes of its own."""

    def __init__(self, out, text, steps):
        self.out, self.steps = out, steps
        options = (*TINY, "--steps", str(steps))
        self.start = (*COMMAND, "train", "--out", out, "--text", text, *options)
        self.resume = (*COMMAND, "train", "--out", out, "--resume")

    def begin(self):
        """Start a process: a start that was killed before it had a folder is repeated."""
        wanted = self.resume if (self.out / "config.json").exists() else self.start
        return subprocess.Popen(
            list(map(str, wanted)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def end(self):
        """Let it make its remaining steps; return what is left of it."""
        process = self.begin()
        shown, _ = process.communicate(timeout=BOUND)
        assert process.returncode == 0, shown
        weights = load_weights(self.out / "weights.safetensors")
        lines = (self.out / "metrics.jsonl").read_text().splitlines()
        kept = [{**json.loads(line), "seconds": 0, "config": "", "crc32": ""} for line in lines]
        return {name: array.tobytes() for name, array in weights.items()}, kept

    def wait_for_step(self, step):
        deadline = time.monotonic() + BOUND
        while time.monotonic() < deadline:
            lines = read_metrics(self.out / "metrics.jsonl")
            if max((line["step"] for line in lines), default=0) >= step:
                return
            time.sleep(0.005)
        raise AssertionError(f"no step {step} in {self.out} within {BOUND} seconds")

    @property
    def step(self):
        """The step of the last checkpoint, which is always whole."""
        path = self.out / "checkpoint.safetensors"
        return load_arrays(path)[1]["step"] if path.exists() else 0


def test_a_run_killed_repeatedly_ends_with_the_same_bits(tmp_path, text, record_property):
    """By SIGKILL and SIGTERM, in steps and saves, while it starts or resumes, twice in a row."""
    steps = 200 * min(KILLS, 60)
    whole = Folder(tmp_path / "whole", text, steps).end()
    folder, rng, reached = Folder(tmp_path / "r", text, steps), random.Random(1), []
    for kill in range(KILLS):
        process = folder.begin()
        if kill % 5 < 3:  # well into its steps, perhaps into a save
            folder.wait_for_step(round(0.75 * steps * kill / KILLS, -1))
            time.sleep(rng.uniform(0, 0.1))
        else:  # while it starts or resumes
            time.sleep(rng.uniform(0.1, 0.8))
        process.send_signal(signal.SIGTERM if kill % 7 == 6 else signal.SIGKILL)
        shown, _ = process.communicate(timeout=BOUND)
        assert "Traceback" not in shown, shown
        # A SIGTERM before the first step ends a process at once.
        assert process.returncode in (-signal.SIGKILL, -signal.SIGTERM, 143), shown
        reached.append(folder.step)
    assert reached == sorted(reached)
    assert len(set(reached)) >= KILLS // 3, f"too few kills hit a running training: {reached}"
    assert folder.end() == whole
    record_property("kills at random moments, then resumed", KILLS)
    record_property("checkpoints among them at different steps", len(set(reached)))


# A run whose process kills itself at the n-th call that changes a file.
DIES = """
import os, pathlib, sys
sys.path[:0] = sys.argv[4:]
from tests.runs import MODEL, source
from portable_rnn.training import train

at, calls = int(sys.argv[2]), 0

def counted(true):
    def call(*args, **options):
        global calls
        calls += 1
        if calls == at and sys.argv[3] == "before":
            os.kill(os.getpid(), 9)
        result = true(*args, **options)
        if calls == at:
            os.kill(os.getpid(), 9)
        return result
    return call

for name in ("open", "link", "replace", "fsync", "unlink", "close"):
    setattr(os, name, counted(getattr(os, name)))
import io, builtins
builtins.open = counted(open)
train(
    MODEL, MODEL.init(seed=0), source(), steps=10, save_every=3, checkpoint=sys.argv[1], resume=True
)
print(calls)
"""


def test_a_process_killed_at_any_call_of_a_save_resumes_to_the_same_bits(tmp_path, record_property):
    def go(path, at, when="after"):
        process = [sys.executable, "-c", DIES, path, at, when, *filter(None, sys.path), ROOT]
        return subprocess.run(
            list(map(str, process)), capture_output=True, text=True, timeout=BOUND, check=False
        )

    ended = go(tmp_path / "whole", 0)
    assert ended.returncode == 0, ended.stderr
    whole, calls = (tmp_path / "whole").read_bytes(), int(ended.stdout)
    assert calls > 30
    tried = 0
    moments = [(at, when) for at in range(1, calls + 1) for when in ("before", "after")]
    for at, when in moments if FULL else random.Random(0).sample(moments, 6):
        path = tmp_path / f"{at}-{when}"
        assert go(path, at, when).returncode == -signal.SIGKILL
        again = go(path, at, when)  # twice in a row, while it resumes
        assert again.returncode in (0, -signal.SIGKILL), again.stderr
        ended = go(path, 0)
        assert ended.returncode == 0, ended.stderr
        assert path.read_bytes() == whole, (at, when)
        tried += 1
    record_property("kills at a call of a save, twice each", tried)


@pytest.mark.parametrize(
    "wait", times((0.0, 0.02), (0.0, 0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.2))
)
def test_ctrl_c_twice_ends_at_once_and_resumes(tmp_path, text, wait):
    steps = 800
    folder = Folder(tmp_path / "r", text, steps)
    process = folder.begin()
    folder.wait_for_step(60)
    process.send_signal(signal.SIGINT)
    time.sleep(wait)
    process.send_signal(signal.SIGINT)
    shown, _ = process.communicate(timeout=BOUND)
    # The system may merge the two, or the first may have ended the run.
    assert process.returncode in (0, 130), shown
    assert "Traceback" not in shown
    assert "go on with: portable-rnn train" in shown.replace("\n", " ")
    whole = Folder(tmp_path / "whole", text, steps)
    assert folder.end() == whole.end()


def test_a_clock_that_jumps_changes_no_number(tmp_path, text, monkeypatch):
    """Days ahead and back: of the date, and ahead of the clock that counts from the start."""
    options = ("--text", text, *TINY, "--steps", 60)
    assert command.call("train", "--out", tmp_path / "whole", *options)[0] == 0
    rng, ahead = random.Random(0), [0.0]
    now, since = time.time, time.monotonic

    def jumping():
        ahead[0] += rng.uniform(0, 86400) if rng.random() < 0.1 else 0.0
        return since() + ahead[0]

    monkeypatch.setattr(time, "time", lambda: now() + rng.uniform(-1e6, 1e6))
    monkeypatch.setattr(time, "monotonic", jumping)
    out = tmp_path / "r"
    code, shown = command.call("train", "--out", out, *options, "--minutes", 60 * 24 * 3)
    assert code == 0, shown
    while "stopped at step" in shown:
        code, shown = command.call("train", "--out", out, "--resume")
        assert code == 0, shown
    names = ("weights.safetensors",)
    weights = [load_weights(tmp_path / f / name) for f in ("whole", "r") for name in names]
    assert all(weights[0][name].tobytes() == weights[1][name].tobytes() for name in weights[0])
    seconds = [line["seconds"] for line in read_metrics(out / "metrics.jsonl")]
    assert seconds == sorted(seconds)


def test_a_folder_of_another_user_is_named(tmp_path, text):
    """As in a folder that is read-only; root may write everywhere, so the system refuses."""
    out = tmp_path / "r"
    with pytest.MonkeyPatch.context() as patched:

        def refuse(self, *args, **options):
            raise PermissionError(13, "Permission denied", str(self))

        patched.setattr(Path, "mkdir", refuse)
        code, shown = command.call("train", "--out", out, "--text", text, *TINY, "--steps", 3)
    assert code == 2
    assert f"out: cannot create the folder {out}: Permission denied" in " ".join(shown.split())
    assert not out.exists()
