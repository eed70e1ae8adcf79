"""``portable-rnn train`` on a cluster: on processes of its own, and on those of a scheduler."""

import random

import pytest

from portable_rnn.serialization import load_weights

from . import command

pytest.importorskip("typer")
pytest.importorskip("safetensors")
distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.no_products

TINY = ("--hidden", "8", "--batch-size", "4", "--window", "8", "--steps", "6", "--seed", "1")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "story.txt"
    words = random.Random(0).choices(["The ", "cat ", "sat ", "on ", "mats.\n"], k=600)
    path.write_text("".join(words), encoding="utf-8")
    return path


def call(*args, code=0):
    done = command.run("train", *args, COLUMNS="200", NO_COLOR="1")
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_a_run_on_workers_is_that_of_a_scheduler_with_as_many_shards(tmp_path, text):
    own, others = tmp_path / "own", tmp_path / "others"
    said = call("--text", text, *TINY, "--out", own, "--workers", "2").stdout
    assert "2 workers; dashboard: " in said
    assert ("http://127.0.0.1:" in said) or ("pip install bokeh" in said)
    assert "this network" in said
    message = r"workers: expected a number, or --scheduler; see --shards"
    assert message in call("--out", own, "--resume", code=2).stderr
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    ) as cluster:
        where = ("--scheduler", cluster.scheduler_address)
        said = call("--text", text, *TINY, "--out", others, *where, "--shards", "2").stdout
        assert "1 worker; dashboard: " in said
        assert "nothing to do" in call("--out", own, "--resume", *where).stdout
    first, second = (load_weights(one / "weights.safetensors") for one in (own, others))
    for name, array in first.items():
        assert second[name].tobytes() == array.tobytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--workers", "0"), "workers: expected at least 1, got 0"),
        (("--workers", "2", "--scheduler", "x"), "scheduler: expected none with --workers, got x"),
        (("--scheduler", ""), "scheduler: expected at least one character, got ''"),
        (("--workers", "5"), "shards: expected at most the 4 sequences of a batch, got 5"),
        (("--shards", "2"), "workers: expected a number, or --scheduler; see --shards"),
        (("--scheduler", "no address"), "scheduler: expected one with workers at no address, got"),
    ],
)
def test_options_that_do_not_fit_are_one_line_and_leave_nothing(tmp_path, text, options, message):
    out = tmp_path / "r"
    done = call("--text", text, *TINY, "--out", out, *options, code=2)
    assert f"error: {message}" in done.stderr
    assert not out.exists()
