"""Gradients added by an all-reduce: those of one process, in threads, and in processes of torch."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.distributed import AllReduceGradients, Shards
from portable_rnn.training import Callback, train

from . import distributed_problem as problem
from .distributed_problem import DROPPING, MODEL, SHARDS, Whole, later, load, run, whole
from .runs import Stop, same
from .test_examples import Together

WAIT = 60


def every(size, work):
    """Run a program in threads, each with a rank of its own; return what they return."""
    return Together(size).run(lambda rank, reduce: work(rank, reduce))


def made(rank, size, reduce, model=MODEL, **options):
    return AllReduceGradients(model, reduce, rank=rank, size=size, **options)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_gradients_of_processes_are_those_of_the_whole_batch(size):
    one = whole(3, problem.load_double)
    params = MODEL.init(seed=0, dtype="float64")
    want = prnn.bptt(MODEL, params, one.x, one.targets, lengths=one.lengths)

    def work(rank, reduce):
        loaded = made(rank, size, reduce)
        cut = made(rank, size, reduce, shards=4)
        return loaded(params, Shards(problem.load_double, SHARDS).batch(3)), cut(params, one)

    for results in every(size, work):
        for loss, grads, _ in results:
            assert loss == pytest.approx(want.loss, rel=1e-14)
            for name, gradient in want.grads.items():
                assert np.abs(grads[name] - gradient).max() < 1e-15


def test_each_shard_draws_masks_of_its_own():
    params, one = DROPPING.init(seed=0, dtype="float64"), problem.load_double(4, 0)
    batch = Shards(lambda step, shard: problem.load_double(step, 0), 2).batch(4)
    first, second = (
        prnn.bptt(
            DROPPING, params, one.x, one.targets, lengths=one.lengths, dropout=(7, 4, shard)
        ).grads
        for shard in range(2)
    )
    assert not same(first, second)

    def work(rank, reduce):
        return made(rank, 2, reduce, DROPPING)(params, batch, None, (7, 4))

    for _, grads, _ in every(2, work):
        for name, gradient in grads.items():
            assert np.abs(gradient - (first[name] + second[name]) / 2).max() < 1e-15


def test_a_run_of_processes_is_that_of_one(tmp_path):
    """Clipping, logs, evaluations and patience are of the whole batch, and equal in all."""
    options = {"evaluate_every": 4, "patience": 2}
    want = run(
        *(None, Whole()),
        validation=Whole(2, 1000),
        metrics=["accuracy"],
        **options,
    )
    source, held_out = Shards(load, SHARDS), Shards(later, SHARDS, steps_per_epoch=2)

    def work(rank, reduce):
        gradients = made(rank, 2, reduce, metrics=["accuracy"])
        return run(gradients, source, validation=held_out, **options)

    first, second = every(2, work)
    assert same(first.params, second.params)
    for name in ("loss", "gradient_norm", "evaluation", "best_step", "metrics"):
        assert getattr(first, name) == getattr(second, name)
        assert getattr(first, name) == pytest.approx(getattr(want, name), rel=1e-5), name
    assert first.evaluation_metrics == pytest.approx(want.evaluation_metrics)


def test_a_shard_that_is_empty_counts_for_nothing():
    def with_an_empty_one(step, shard):
        batch = load(step, shard)
        return batch._replace(lengths=batch.lengths * (shard != 1))

    params = MODEL.init(seed=0)
    batch = Shards(with_an_empty_one, 2).batch(0)
    one = load(0, 0)
    want = prnn.bptt(MODEL, params, one.x, one.targets, lengths=one.lengths)
    for loss, grads, _ in every(2, lambda rank, reduce: made(rank, 2, reduce)(params, batch)):
        assert loss == pytest.approx(want.loss)
        for name, gradient in want.grads.items():
            assert np.abs(grads[name] - gradient).max() < 1e-8


def test_one_process_writes_and_all_resume(tmp_path):
    path = tmp_path / "c"
    source = Shards(load, 2)

    def work(rank, reduce, **options):
        gradients = made(rank, 2, reduce, DROPPING)
        return run(gradients, source, model=DROPPING, **options)

    want, _ = every(2, work)
    saves = [Saves(), Saves()]

    def begun(rank, reduce):
        return work(rank, reduce, checkpoint=path, callbacks=[Stop(7), saves[rank]], save_every=2)

    every(2, begun)
    assert [one.steps for one in saves] == [[2, 4, 6, 7], []]
    first, second = every(2, partial(work, checkpoint=path, resume=True))
    assert first.step == second.step == 12
    assert same(first.params, want.params)
    assert same(second.params, want.params)


class Saves(Callback):
    def __init__(self):
        self.steps = []

    def on_save(self, run, path):
        self.steps.append(run.step)


def test_a_state_stays_in_its_process():
    source = Shards.from_sources(problem.lanes, 2, carry=True)

    class Both:
        def batch(self, step):
            parts = [problem.lanes(shard).batch(step) for shard in range(2)]
            return problem.joined(parts)._replace(fresh=parts[0].fresh)

    want = run(None, Both())
    for found in every(2, lambda rank, reduce: run(made(rank, 2, reduce), source)):
        assert found.state == ["kept by its process"] * 2
        for name, array in want.params.items():
            assert np.abs(array - found.params[name]).max() < 1e-5


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"rank": 2}, ValueError, "^rank: expected at most 1, got 2"),
        ({"size": 0}, ValueError, "^size: expected at least 1, got 0"),
        ({"all_reduce": 3}, TypeError, r"^all_reduce: expected a callable \(vector\)"),
        ({"loss": 3}, TypeError, "^loss: expected a callable"),
        ({"shards": 1}, ValueError, "^shards: expected one for each of 2 processes, got 1"),
        ({"all_reduce": lambda v: None}, TypeError, "^what all_reduce returned: expected an array"),
        ({"all_reduce": lambda v: v[1:]}, ValueError, "^what all_reduce returned: expected shape"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(options, kind, message):
    given = {"all_reduce": lambda vector: vector, "rank": 0, "size": 2} | options
    with pytest.raises(kind, match=message):
        AllReduceGradients(MODEL, **given)(MODEL.init(seed=0), whole(0))


def test_the_example_is_run_by_two_processes_of_torch(tmp_path):
    """Gloo adds; the result is that of one process, and one process writes."""
    pytest.importorskip("torch")
    from examples import all_reduce

    script, steps = Path(all_reduce.__file__), 8
    command = [sys.executable, str(script), f"--steps={steps}", "--checkpoint=c.safetensors"]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=WAIT, check=False, cwd=tmp_path
    )
    assert ended.returncode == 0, ended.stderr
    alone = AllReduceGradients(all_reduce.MODEL, lambda vector: vector, rank=0, size=1)
    source = Shards(all_reduce.load, all_reduce.SHARDS)
    want = train(
        *(None, all_reduce.MODEL.init(seed=0), source),
        **{"steps": steps, "lr": 0.01, "max_norm": 1.0, "gradients": alone},
    )
    assert ended.stdout == f"2 processes, loss {want.loss:.4f}\n"
    arrays, header = prnn.serialization.load_arrays(tmp_path / "c.safetensors")
    assert header["step"] == steps
    for name, array in want.params.items():
        assert np.abs(arrays[f"params/{name}"] - array).max() < 1e-5, name
