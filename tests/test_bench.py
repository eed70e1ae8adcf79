"""`portable-rnn bench`: comparisons, refusals, and records."""

import json
import os

import numpy as np
import pytest

from . import command

pytest.importorskip("typer")
pytest.importorskip("safetensors")

from portable_rnn.cli import bench, contenders

pytestmark = pytest.mark.no_products

FEW = ("--rounds", "2", "--batch", "3", "--hidden", "6", "--hidden", "9", "--steps", "4")


@pytest.mark.parametrize("work", contenders.WORK)
@pytest.mark.parametrize("cell", ["elman", "gru", "lstm", "layer_norm_elman"])
def test_all_installed_contenders_do_the_same_work(work, cell):
    p = contenders.draw(cell, 3, 6, 5, 4, "float32")
    runs = contenders.contenders(work, p)
    assert {"eager", "floor"} <= runs.keys()
    bench.compare(runs, 1e-4)


def test_a_result_that_is_off_is_not_timed():
    p = contenders.draw("gru", 3, 6, 6, 4, "float32")
    right = contenders.ours("train", p, "eager")
    wrong = lambda: [*right()[:-1], right()[-1] + 1e-2]  # noqa: E731
    bench.compare({"eager": right, "other": right}, 1e-4)
    with pytest.raises(ValueError, match=r"^other: result \d is off by 1"):
        bench.compare({"eager": right, "other": wrong}, 1e-4)
    nan = lambda: [*right()[:-1], right()[-1] * np.nan]  # noqa: E731
    with pytest.raises(ValueError, match=r"^other: result \d is off by nan"):
        bench.compare({"eager": right, "other": nan}, 1e-4)


def test_a_record_has_all_sizes_and_contenders(tmp_path):
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    done = command.run("bench", *FEW, "--json", tmp_path / "record.json", COLUMNS="120")
    assert done.returncode == 0, done.stderr
    assert "/ floor" in done.stdout
    record = json.loads((tmp_path / "record.json").read_text())
    assert [(row["T"], row["B"], row["H"]) for row in record["rows"]] == [(4, 3, 6), (4, 3, 9)]
    for row in record["rows"]:
        low, middle, high = (row["ratios"]["floor"][i] for i in (1, 0, 2))
        assert 0 < low <= middle <= high
        assert row["process_us_per_step"].keys() == row["first_call_s"].keys()
        assert row["peak_bytes"]["eager"] > 0
    assert record["versions"]["numpy"] == np.__version__
    if cores is not None:
        assert os.sched_getaffinity(0) == cores


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--work", "sing"), "work: expected 'train', 'predict' or 'step'"),
        (("--cell", "grue"), "cell: expected 'elman'"),
        (("--hidden", "0"), "hidden: expected at least 1"),
        (("--dtype", "float16"), "dtype: expected 'float32' or 'float64'"),
        (("--rounds", "0"), "rounds: expected at least 1"),
        (("--threads", "0"), "threads: expected at least 1"),
        (("--threads", "100000"), "threads: expected at most"),
    ],
)
def test_wrong_options_are_named(given, words):
    status, shown = command.call("bench", *given, COLUMNS="200")
    assert status == 2
    assert words in shown


@pytest.mark.skipif(bench.CORES < 2, reason="one core")
def test_several_threads_are_compared_with_one_on_the_clock():
    done = command.run("bench", *FEW, "--threads", "2", COLUMNS="120")
    assert done.returncode == 0, done.stderr
    assert "2 threads, time on the clock" in done.stdout
    assert "one thread" in done.stdout
    times = {"compiled": [(1.0, 1.0), (1.0, 1.0)], "one thread": [(1.0, 1.5), (1.0, 1.7)]}
    assert bench.summary(times, 1, threads=2)["ratios"]["one thread"][0] == 1.6


def test_quartiles_of_few_rounds_lie_within_the_measured_range():
    times = {"compiled": [(1.0, 1.0), (1.0, 1.0)], "floor": [(1.0, 1.0), (0.01, 0.01)]}
    found = bench.summary(times, 1)["ratios"]["floor"]
    assert found == pytest.approx([50.5, 25.75, 75.25])
