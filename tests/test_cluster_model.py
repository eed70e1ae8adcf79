"""The model of a step on a cluster, and the command that measures its parts."""

import json

import pytest

pytest.importorskip("typer")

from portable_rnn.cli.cluster_model import NETWORK, Costs, Network

from .command import call

pytestmark = pytest.mark.no_products

COSTS = Costs(compute=0.2, trip=0.01, task=0.001, byte=1e-9, update=0.002, size=10**6)


def test_one_machine_sends_all_copies_after_one_another():
    # Two shards on two workers: one turn, two tasks, two copies there and two back.
    assert COSTS.here(2, 2) == pytest.approx(0.01 + 2 * 0.001 + 0.2 + 0.002 + 4 * 0.001)
    assert COSTS.here(1, 2) == pytest.approx(0.01 + 2 * 0.001 + 2 * 0.2 + 0.002 + 3 * 0.001)


def test_many_machines_send_and_add_in_levels():
    none = Network()
    # Parameters to one, and doubled three times; eight gradients are added at once.
    assert COSTS.on(none, 8, 8) == pytest.approx(0.01 + 8 * 0.001 + 0.202 + (1 + 3 + 8) * 0.001)
    # 64 are added on two levels, the second of which is one more trip.
    two = 0.01 + 64 * 0.001 + 0.202 + (1 + 6 + 16) * 0.001 + 0.01
    assert COSTS.on(none, 64, 64) == pytest.approx(two)
    slow = Network(bandwidth=1e8, latency=0.5)
    assert COSTS.on(slow, 8, 8) == pytest.approx(0.01 + 0.008 + 0.202 + 12 * 0.011 + 2 * 0.5)
    assert COSTS.on(none, 1, 1) == pytest.approx(0.01 + 0.001 + 0.202 + 2 * 0.001)


@pytest.mark.parametrize("workers", [8, 64, 1024])
def test_local_steps_are_as_many_as_it_takes(workers):
    steps = COSTS.local_steps_for(0.9, NETWORK, workers)
    assert COSTS.efficiency(NETWORK, workers, steps) >= 0.9
    assert steps == 1 or COSTS.efficiency(NETWORK, workers, steps - 1) < 0.9


def test_the_command_measures_a_cluster(tmp_path):
    pytest.importorskip("distributed")
    path = tmp_path / "record.json"
    sizes = ("--hidden", "8", "--batch", "4", "--steps", "4", "--rounds", "2")
    code, said = call("bench", "--workers", "2", *sizes, "--json", path, COLUMNS="100")
    assert code == 0, said
    for words in ("2 workers; dashboard", "a step of training in ms", "extrapolated, not measured"):
        assert words in said
    (row,) = json.loads(path.read_text())["rows"]
    assert row["cluster_s"] > row["one_process_s"] > 0
    assert row["model_s"] == pytest.approx(Costs(**row["costs"]).here(2, 2))
    assert row["costs"]["size"] == 4 * (2 * 24 * 8 + 2 * 24 + 32 * 8 + 32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--workers", "0"), "workers: expected at least 1, got 0"),
        (("--workers", "8", "--batch", "4"), "batch: expected a sequence for each worker, got 4"),
        (("--workers", "2", "--threads", "2"), "threads: expected its default with --workers"),
        (("--workers", "2", "--work", "predict"), "work: expected its default with --workers"),
        (("--workers", "2", "--cell", "x"), "cell: expected"),
        (("--workers", "2", "--json", "/no/such/x"), "json: expected a file in an existing folder"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    pytest.importorskip("distributed")
    code, said = call("bench", *options, COLUMNS="200")
    assert code == 2
    assert f"error: {message}" in said
