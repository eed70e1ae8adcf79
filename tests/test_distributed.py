"""Gradients on the processes of a Dask cluster: those of one process, whatever happens to workers.

``KILLS=20 pytest tests/test_distributed_kills.py`` (or ``nox -s distributed``) ends processes at
random moments.
"""

import os
import signal
import time
from functools import partial

import numpy as np
import pytest
from conformance.tolerances import assert_close

import portable_rnn as prnn
from portable_rnn.batches import Batch, Shuffled
from portable_rnn.distributed import DaskGradients, Shards
from portable_rnn.optimizers import clip_norm, sgd
from portable_rnn.serialization import CheckpointError
from portable_rnn.training import Callback, evaluate, train

from . import distributed_problem as problem
from .distributed_problem import DROPPING, MODEL, SHARDS, Whole, joined, later, load, run, whole
from .runs import Stop, same

distributed = pytest.importorskip("distributed")

from .distributed_cluster import cluster as start_cluster  # noqa: E402  # it imports distributed

WAIT = 60.0  # seconds; nothing here takes more than a few


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes of one thread, for all tests."""
    with start_cluster(2) as found:
        yield found


@pytest.fixture(scope="module")
def client(cluster):
    with distributed.Client(cluster, timeout=WAIT) as found:
        found.wait_for_workers(2, timeout=WAIT)
        yield found


def in_float64(loss):
    """Return a loss with class weights in float64, if it has any."""
    classes = getattr(loss, "keywords", {}).get("class_weights")
    return loss if classes is None else partial(loss, class_weights=classes.astype(np.float64))


def eps_apart(got, want):
    """Return by how many eps of the largest number two dicts of arrays differ."""
    eps = np.finfo(next(iter(want.values())).dtype).eps
    return max(
        float(np.abs(got[name] - array).max() / max(np.abs(array).max(), 1e-30) / eps)
        for name, array in want.items()
    )


def of_one_process(model, params, batch, loss=prnn.losses.softmax_cross_entropy, **options):
    """Return loss and gradients of a whole batch, in float64, and the largest cotangent."""
    scale = 0.0

    def seen(outputs, targets, **options):
        nonlocal scale
        value, d_outputs = loss(outputs, targets, **options)
        scale = float(np.abs(d_outputs).max())
        return value, d_outputs

    def wide(a):
        return a.astype(np.float64) if getattr(a, "dtype", None) == np.float32 else a

    if batch.weights is not None:
        options["weights"] = wide(batch.weights)
    params = {name: wide(p) for name, p in params.items()}
    x, targets = wide(batch.x), wide(batch.targets)
    found = prnn.bptt(model, params, x, targets, loss=seen, lengths=batch.lengths, **options)
    return found.grads | {"loss": found.loss}, scale


def assert_like_one_process(value, grads, *problem, **options):
    want, scale = of_one_process(*problem, **options)
    for name, array in {**grads, "loss": value}.items():
        assert_close(array, want[name], name, scale=scale, k=4)


# ---------------------------------------------------------------- gradients


@pytest.mark.parametrize("loader", [load, problem.load_double])
def test_gradients_of_shards_are_those_of_the_whole_batch(client, loader):
    gradients = DaskGradients(client, MODEL, timeout=WAIT)
    one = whole(3, loader)
    params = MODEL.init(seed=0, dtype=one.x.dtype.name)
    loss, grads, _ = gradients(params, Shards(loader, SHARDS).batch(3))
    assert_like_one_process(loss, grads, MODEL, params, one)
    assert {g.dtype for g in grads.values()} == {one.x.dtype}


def arrays(*, lengths=True, **more):
    one = whole(3)
    return Batch(one.x, one.targets, lengths=one.lengths if lengths else None, **more)


def holes():
    one = arrays()
    return one._replace(targets=np.where(one.x[:, :, 2] > 0.5, -100, one.targets))


def weighted():
    rng = np.random.default_rng(0)
    one = arrays(lengths=False)
    targets = rng.normal(size=(*one.targets.shape, problem.O)).astype(np.float32)
    weights = rng.uniform(0, 2, one.targets.shape).astype(np.float32)
    return one._replace(targets=targets, weights=weights)


def alignments():
    one = arrays()
    labels = np.random.default_rng(1).integers(1, problem.O, (one.x.shape[1], 2))
    return one._replace(targets=labels, lengths=np.clip(one.lengths, 5, None))


CLASSES = np.asarray([0.5, 2.0, 1.0, 0.25], np.float32)
CASES = {
    "ragged": (MODEL, arrays, "cross_entropy"),
    "no lengths": (MODEL, partial(arrays, lengths=False), "cross_entropy"),
    "ignored and weighted classes": (
        *(MODEL, holes),
        partial(prnn.losses.softmax_cross_entropy, ignore_index=-100, class_weights=CLASSES),
    ),
    "weighted steps": (MODEL, weighted, "mse"),
    "alignments": (MODEL, alignments, "ctc"),
    "pooled": (
        prnn.RNN(problem.I, 8, problem.O, pool="mean"),
        lambda: arrays()._replace(targets=whole(3).targets[0]),
        "cross_entropy",
    ),
    "tokens": (
        prnn.RNN(5, 8, problem.O, vocabulary_size=problem.O),
        lambda: arrays()._replace(x=whole(4).targets),
        "cross_entropy",
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shards", [2, 15])
def test_gradients_of_a_batch_that_is_cut_are_those_of_one_process(client, case, shards):
    model, make, loss = CASES[case]
    batch, params = make(), model.init(seed=0)
    gradients = DaskGradients(client, model, loss=loss, shards=shards, timeout=WAIT)
    value, grads, _ = gradients(params, batch)
    assert_like_one_process(value, grads, model, params, batch, loss=in_float64(gradients.loss))


def test_a_layout_with_the_batch_first_is_cut_along_it(client):
    model = prnn.RNN(problem.I, 8, problem.O, batch_first=True)
    one, params = whole(3), model.init(seed=0)
    batch = Batch(one.x.swapaxes(0, 1), one.targets.swapaxes(0, 1), lengths=one.lengths)
    loss, grads, _ = DaskGradients(client, model, shards=2, timeout=WAIT)(params, batch)
    assert_like_one_process(loss, grads, model, params, batch)


def test_each_shard_draws_masks_of_its_own(client):
    gradients = DaskGradients(client, DROPPING, timeout=WAIT)
    params = DROPPING.init(seed=0)
    batch = Shards(problem.same_data, 2).batch(4)
    _, grads, _ = gradients(params, batch, None, (7, 4))
    one = load(4, 0)
    both = [
        prnn.bptt(
            DROPPING, params, one.x, one.targets, lengths=one.lengths, dropout=(7, 4, shard)
        ).grads
        for shard in range(2)
    ]
    assert not same(*both)
    assert eps_apart(grads, {name: (g + both[1][name]) / 2 for name, g in both[0].items()}) <= 4


def test_a_shard_in_which_nothing_counts_counts_for_nothing(client):
    def with_an_empty_one(step, shard):
        batch = load(step, shard)
        return batch._replace(lengths=batch.lengths * (shard != 1))

    gradients, params = DaskGradients(client, MODEL, timeout=WAIT), MODEL.init(seed=0)
    loss, grads, _ = gradients(params, Shards(with_an_empty_one, SHARDS).batch(0))
    one = joined([with_an_empty_one(0, 0), with_an_empty_one(0, 2)])
    assert_like_one_process(loss, grads, MODEL, params, one)

    def empty(step, shard):
        batch = load(step, shard)
        return batch._replace(lengths=batch.lengths * 0)

    loss, grads, _ = gradients(params, Shards(empty, SHARDS).batch(0))
    assert np.isnan(loss)
    assert not any(g.any() for g in grads.values())
    # As in one process, the loss of such a batch is left out, and nothing moves.
    found = train(None, params, Shards(empty, 1), steps=2, gradients=gradients, optimizer="sgd")
    assert same(found.params, params)


# ---------------------------------------------------------------- runs


def shards(loader=load, **options):
    return Shards(loader, SHARDS, **options)


@pytest.fixture(scope="module")
def undisturbed(client):
    """A run of two workers, with dropout: what all others are compared with, to the last bit."""
    return run(DaskGradients(client, DROPPING, timeout=WAIT), shards(), model=DROPPING)


def test_a_run_is_that_of_one_process(client):
    options = {"metrics": ["accuracy"], "evaluate_every": 4, "patience": 2}
    want = run(None, Whole(), validation=Whole(2, 1000), **options)
    metrics = options.pop("metrics")
    gradients = DaskGradients(client, MODEL, metrics=metrics, timeout=WAIT)
    held_out = shards(later, steps_per_epoch=2)
    got = run(gradients, shards(), validation=held_out, **options)
    assert got.model == MODEL
    assert eps_apart(got.params, want.params) < 1000  # after twelve steps of adam
    for name in ("loss", "gradient_norm", "evaluation", "best_evaluation"):
        assert getattr(got, name) == pytest.approx(getattr(want, name), rel=1e-5), name
    assert got.best_step == want.best_step
    assert got.metrics == pytest.approx(want.metrics)
    assert got.evaluation_metrics == pytest.approx(want.evaluation_metrics)
    alone = evaluate(MODEL, got.params, Whole(2, 1000), metrics=metrics)
    assert gradients.evaluate(got.params, held_out) == pytest.approx(alone, rel=1e-6)


def test_one_worker_makes_the_same_bits_as_two(client, cluster, undisturbed):
    cluster.scale(1)
    while len(client.nthreads()) > 1:
        time.sleep(0.05)
    try:
        alone = run(DaskGradients(client, DROPPING, timeout=WAIT), shards(), model=DROPPING)
    finally:
        cluster.scale(2)
        client.wait_for_workers(2, timeout=WAIT)
    assert same(alone.params, undisturbed.params)
    assert alone.loss == undisturbed.loss


class Kill(Callback):
    """End processes of a cluster at a step."""

    def __init__(self, client, step, count=1):
        self.client, self.step, self.count = client, step, count

    def on_step(self, run):
        if run.step == self.step:
            for pid in list(self.client.run(os.getpid).values())[: self.count]:
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("count", [1, 2])
def test_workers_that_are_killed_change_no_bit(client, undisturbed, count):
    gradients = DaskGradients(client, DROPPING, timeout=WAIT)
    kill = Kill(client, 5, count)
    got = run(gradients, shards(), model=DROPPING, callbacks=[kill])
    client.wait_for_workers(2, timeout=WAIT)
    assert same(got.params, undisturbed.params)
    assert got.loss == undisturbed.loss


def test_a_run_that_is_resumed_by_another_client_ends_with_the_same_bits(
    client, cluster, undisturbed, tmp_path
):
    path = tmp_path / "c"
    first = DaskGradients(client, DROPPING, timeout=WAIT)
    run(first, shards(), model=DROPPING, checkpoint=path, callbacks=[Stop(7)])
    with distributed.Client(cluster, timeout=WAIT) as another:
        second = DaskGradients(another, DROPPING, timeout=WAIT)
        rest = run(second, shards(), model=DROPPING, checkpoint=path, resume=True)
    assert rest.step == 12
    assert same(rest.params, undisturbed.params)
    with pytest.raises(CheckpointError, match=r"shards 3 where 4 is asked for"):
        run(first, Shards(load, 4), model=DROPPING, checkpoint=path, resume=True)
    with pytest.raises(CheckpointError, match=r"'load'.* where .*'later'.* is asked for"):
        run(first, shards(later), model=DROPPING, checkpoint=path, resume=True)
    with pytest.raises(CheckpointError, match="belongs to another run"):
        run(None, Whole(), model=DROPPING, checkpoint=path, resume=True)


def test_a_state_is_carried_in_each_shard_and_saved(client, tmp_path):
    source = Shards.from_sources(problem.lanes, 2, carry=True)
    gradients = DaskGradients(client, MODEL, timeout=WAIT)
    path, options = tmp_path / "c", {"steps": 9}
    found = run(gradients, source, **options)
    assert [part.shape for part in found.state] == [(2, 2, 8)] * 2
    run(gradients, source, checkpoint=path, callbacks=[Stop(4)], **options)
    rest = run(gradients, source, checkpoint=path, resume=True, **options)
    assert same(rest.params, found.params)

    class Both:
        """The lanes of both shards, in one process."""

        def batch(self, step):
            parts = [problem.lanes(shard).batch(step) for shard in range(2)]
            return joined(parts)._replace(fresh=parts[0].fresh)

    assert eps_apart(found.params, run(None, Both(), **options).params) < 1000


def test_arrays_are_cut_and_a_state_is_carried(client):
    x, labels = whole(0, shards=8).x, whole(0, shards=8).targets
    source = Shuffled(x, labels, batch_size=8, seed=1)
    gradients = DaskGradients(client, MODEL, shards=2, metrics=["accuracy"], timeout=WAIT)
    options = {"validation": source, "evaluate_every": 6}
    got = run(gradients, source, **options)
    want = run(None, source, metrics=["accuracy"], **options)
    assert eps_apart(got.params, want.params) < 1000
    assert got.evaluation == pytest.approx(want.evaluation, rel=1e-5)
    assert got.evaluation_metrics == pytest.approx(want.evaluation_metrics)
    lanes = problem.lanes(0)
    assert eps_apart(run(gradients, lanes).params, run(None, lanes).params) < 1000


def test_local_steps_are_averaged(client):
    optimizer = clip_norm(sgd, 0.1)
    gradients = DaskGradients(
        *(client, MODEL),
        timeout=WAIT,
        local_steps=3,
        local_lr=0.5,
        local_optimizer=optimizer,
    )
    params = want = MODEL.init(seed=0, dtype="float64")
    found = train(
        *(MODEL, params, Shards(problem.load_double, 2)),
        steps=2,
        gradients=gradients,
        optimizer="sgd",
        lr=1.0,
    )
    for n in range(2):
        moved, counts = [], []
        for shard in range(2):
            own, count = want, 0
            for step in range(3 * n, 3 * n + 3):
                one = problem.load_double(step, shard)
                step = prnn.bptt(MODEL, own, one.x, one.targets, lengths=one.lengths)
                own, _ = optimizer(own, step.grads, None, lr=0.5)
                count += int(one.lengths.sum())
            moved.append(own)
            counts.append(count)
        want = {
            name: sum(c * own[name] for c, own in zip(counts, moved, strict=True)) / sum(counts)
            for name in want
        }
    assert max(np.abs(found.params[name] - want[name]).max() for name in want) < 1e-13
    assert not same(found.params, params)


def test_more_shards_than_are_added_at_once(client):
    gradients, params = DaskGradients(client, MODEL, timeout=WAIT), MODEL.init(seed=0)
    loss, grads, _ = gradients(params, Shards(load, 11).batch(0))
    one = whole(0, shards=11)
    assert_like_one_process(loss, grads, MODEL, params, one)


def test_workers_use_one_thread_of_blas(client):
    pytest.importorskip("threadpoolctl")

    def threads(step, shard):
        import threadpoolctl

        found = {pool["num_threads"] for pool in threadpoolctl.threadpool_info()}
        assert found == {1}, found
        return load(step, shard)

    DaskGradients(client, MODEL, timeout=WAIT)(MODEL.init(seed=0), Shards(threads, 2).batch(0))


# ---------------------------------------------------------------- errors


def test_a_step_that_takes_too_long_is_an_error(client):
    gradients = DaskGradients(client, MODEL, timeout=0.5)
    started = time.monotonic()
    with pytest.raises(TimeoutError, match=r"^timeout: expected step 2 within 0.5 s, got 0 of 2"):
        gradients(MODEL.init(seed=0), Shards(problem.slow, 2).batch(2))
    assert time.monotonic() - started < 3
    patient = DaskGradients(client, MODEL, timeout=WAIT)  # the workers are there again
    patient(MODEL.init(seed=0), shards().batch(0))


def test_a_cluster_without_workers_is_an_error():
    with (
        start_cluster(0) as empty,
        distributed.Client(empty) as client,
        pytest.raises(
            TimeoutError, match=r"^timeout: .* within 0.5 s, got no scheduler with workers; see"
        ),
    ):
        DaskGradients(client, MODEL, timeout=0.5)(MODEL.init(seed=0), shards().batch(0))


@pytest.mark.parametrize(
    ("loader", "kind", "message"),
    [
        (problem.fails, ValueError, r"^no such file \(shard 2 of step 1\)$"),
        (
            problem.no_batch,
            TypeError,
            r"^load: expected it to return a Batch, got .* \(shard \d of step 1\)$",
        ),
        (
            lambda step, shard: load(step, shard)._replace(fresh=False),
            ValueError,
            "^load: expected batches with fresh=True, or",
        ),
        (lambda step, shard: 1 / 0, ZeroDivisionError, "division"),
        (
            *(lambda step, shard: load(step, shard)._replace(x=load(step, shard).x[..., :2]),),
            *(ValueError, r"^batch\.x: expected .* \(shard \d of step 1\)$"),
        ),
    ],
)
def test_what_is_wrong_with_a_shard_is_said(client, loader, kind, message):
    gradients = DaskGradients(client, MODEL, timeout=WAIT)
    with pytest.raises(kind, match=message):
        gradients(MODEL.init(seed=0), Shards(loader, SHARDS).batch(1))
    client.wait_for_workers(2, timeout=WAIT)


def test_a_shard_that_ends_every_worker_is_given_up():
    with start_cluster(1) as own, distributed.Client(own, timeout=WAIT) as client:
        gradients = DaskGradients(client, MODEL, timeout=WAIT)
        with pytest.raises((RuntimeError, TimeoutError), match=r"^(client|timeout): .* step 1"):
            gradients(MODEL.init(seed=0), Shards(problem.ends_its_process, SHARDS).batch(1))


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"shards": 0}, ValueError, "^shards: expected at least 1, got 0"),
        ({"timeout": -1}, ValueError, "^timeout: expected a number above 0"),
        ({"retries": -1}, ValueError, "^retries: expected at least 0"),
        ({"threads": 0}, ValueError, "^threads: expected at least 1"),
        ({"loss": "cross-entropy"}, ValueError, "^loss: expected "),
        ({"loss": 3}, TypeError, "^loss: expected a callable"),
        ({"metrics": ["acuracy"]}, ValueError, r"^metrics\['acuracy'\]: .*did you mean accuracy"),
        ({"local_steps": 2}, ValueError, "^local_lr: expected a learning rate with local_steps"),
        ({"local_lr": 0.1}, ValueError, "^local_lr: expected local_steps with it, got 0.1 alone"),
        ({"local_steps": 2, "local_lr": 0.0}, ValueError, "^local_lr: expected a number above 0"),
        (
            *({"local_steps": 2, "local_lr": 0.1, "local_optimizer": "sdg"}, ValueError),
            "^local_optimizer: expected .*did you mean sgd",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(client, options, kind, message):
    with pytest.raises(kind, match=message):
        DaskGradients(client, MODEL, **options)


def test_arguments_that_do_not_fit_are_refused(client):
    gradients = DaskGradients(client, MODEL, shards=2, timeout=WAIT)
    params, one = MODEL.init(seed=0), whole(0)
    with pytest.raises(TypeError, match=r"^client: expected a distributed.Client, got 3"):
        DaskGradients(3, MODEL)
    with pytest.raises(ValueError, match=r"^shards: expected a number, for batches of arrays"):
        DaskGradients(client, MODEL)(params, one)
    with pytest.raises(ValueError, match=r"^shards: expected none with batches in 3 shards, got 2"):
        gradients(params, shards().batch(0))
    with pytest.raises(ValueError, match=r"^shards: expected at most the 1 sequences of a batch"):
        gradients(params, Batch(one.x[:, :1], one.targets[:, :1]))
    with pytest.raises(ValueError, match=r"^targets: expected 15 along axis 1, got shape"):
        gradients(params, Batch(one.x, one.targets[:, :4]))
    local = DaskGradients(client, MODEL, shards=2, local_steps=2, local_lr=0.1)
    with pytest.raises(ValueError, match=r"^local_steps: expected batches in Shards"):
        local(params, one)
    go = partial(train, params=params, batches=shards(), steps=2)
    with pytest.raises(ValueError, match=r"^model: expected that of DaskGradients, or None"):
        go(DROPPING, gradients=gradients)
    for name, value in (("loss", "mse"), ("metrics", ["accuracy"]), ("predict", prnn.predict)):
        with pytest.raises(ValueError, match=f"^{name}: expected none with DaskGradients"):
            go(None, gradients=gradients, **{name: value})
    with pytest.raises(TypeError, match=r"^load: expected a callable \(step, shard\)"):
        Shards(lambda step: step, 2)
    with pytest.raises(TypeError, match=r"^make: expected a callable \(shard\)"):
        Shards.from_sources(load, 2)
