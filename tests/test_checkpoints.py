"""Checkpoints of a run: it resumes to the same bits, or is refused before any work."""

import functools

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.batches import Batch, Shuffled
from portable_rnn.serialization import CheckpointError
from portable_rnn.training import Callback, train

from .runs import MODEL, Stop, lanes, parity, same, source

# Tuples come back from a file as lists, which must not make the model a different one.
OPTIONS = prnn.cells.LSTM(peepholes=True, activations=(("elu", 0.5), "tanh", "tanh"), clip=2.0)


@pytest.mark.parametrize("make", [source, lanes], ids=["shuffled", "windows"])
@pytest.mark.parametrize("cell", ["elman", "gru", "lstm", OPTIONS], ids=str)
def test_a_resumed_run_is_the_uninterrupted_run(tmp_path, make, cell):
    model = prnn.RNN(input_size=1, hidden_size=8, output_size=2, cell=cell)
    go = functools.partial(
        train,
        model,
        model.init(seed=0),
        steps=53,
        lr=functools.partial(prnn.schedules.cosine, lr=0.02, steps=53),
        max_norm=1.0,
        validation=make(),
        evaluate_every=10,
        save_every=7,
        resume=True,
    )
    whole = go(make(), checkpoint=tmp_path / "whole")
    for step in (1, 17, 28, 39, 52):
        stopped = go(make(), checkpoint=tmp_path / "parts", callbacks=[Stop(step)])
        assert (stopped.step, stopped.stop_reason) == (step, "enough")
    resumed = go(make(), checkpoint=tmp_path / "parts")
    assert resumed.step == whole.step == 53
    assert same(resumed.params, whole.params)
    assert same(resumed.best_params, whole.best_params)
    for slot in ("mean", "root_mean_square"):
        assert same(resumed.optimizer_state[slot], whole.optimizer_state[slot])
    assert (resumed.best_step, resumed.evaluation) == (whole.best_step, whole.evaluation)
    assert resumed.loss == whole.loss  # losses that were read but not yet logged are kept too


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    go = functools.partial(train, MODEL, MODEL.init(seed=0), source(), steps=5)
    first = go(checkpoint=tmp_path / "c")
    again = go(checkpoint=tmp_path / "c", resume=True)
    assert again.step == 5
    assert same(first.params, again.params)


@pytest.mark.parametrize("make", [source, lanes], ids=["shuffled", "windows"])
def test_a_resumed_run_drops_what_it_would_have_dropped(tmp_path, make):
    chances = {"dropout": 0.3, "recurrent_dropout": 0.2, "zoneout": 0.1}
    model = prnn.RNN(1, 8, 2, cell="lstm", num_layers=2, **chances)
    go = functools.partial(train, model, model.init(seed=0), steps=23, save_every=4, resume=True)
    whole = go(make(), seed=5, checkpoint=tmp_path / "whole")
    for step in (1, 6, 17):
        go(make(), seed=5, checkpoint=tmp_path / "parts", callbacks=[Stop(step)])
    resumed = go(make(), seed=5, checkpoint=tmp_path / "parts")
    assert resumed.step == 23
    assert same(resumed.params, whole.params)
    assert not same(go(make(), seed=6, checkpoint=tmp_path / "other").params, whole.params)
    with pytest.raises(CheckpointError, match="seed 5 where 6 is asked for"):
        go(make(), seed=6, checkpoint=tmp_path / "parts")


def test_a_run_that_lost_its_patience_does_not_go_on_when_resumed(tmp_path):
    go = functools.partial(
        train,
        MODEL,
        MODEL.init(seed=0),
        source(),
        steps=500,
        lr=0.0,
        validation=source(),
        evaluate_every=5,
        patience=3,
        checkpoint=tmp_path / "c",
    )
    assert go().step == 20
    again = go(resume=True)
    assert (again.step, again.stop_reason) == (20, "no better evaluation since step 5")


def test_a_diverged_run_raises_and_keeps_the_last_good_checkpoint(tmp_path):
    class Poison:
        steps_per_epoch = 100

        def batch(self, step):
            x, labels = parity()
            return Batch(x * (np.nan if step >= 5 else 1), labels)

        def describe(self):
            return {}

    path = tmp_path / "c"
    with pytest.raises(
        FloatingPointError, match="loss: expected a finite number, got NaN or infinity"
    ):
        train(MODEL, MODEL.init(seed=0), Poison(), steps=50, save_every=3, checkpoint=path)
    arrays, header = prnn.serialization.load_arrays(path)
    assert header["step"] == 3
    assert all(np.isfinite(a).all() for a in arrays.values())


@pytest.mark.parametrize(
    ("model", "params", "data", "words"),
    [
        (prnn.RNN(1, 9, 2, cell="gru"), {}, {}, ("model", "hidden_size 8", "9")),
        (prnn.RNN(1, 8, 2, cell="lstm"), {}, {}, ("model", "cell gru where lstm")),
        (MODEL, {"dtype": "float64"}, {}, ("float64", "got float32")),
        (MODEL, {}, {"seed": 9}, ("batches", "seed 3", "9")),
        (MODEL, {}, {"optimizer": prnn.optimizers.rmsprop}, ("optimizer", "adam", "rmsprop")),
        (
            MODEL,
            {},
            {"optimizer": functools.partial(prnn.optimizers.adam, eps=1e-3)},
            ("optimizer", "eps none where 0.001"),
        ),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(tmp_path, model, params, data, words):
    path = tmp_path / "c"
    train(MODEL, MODEL.init(seed=0), source(), steps=2, checkpoint=path)
    before = path.read_bytes()
    options = {"optimizer": data["optimizer"]} if "optimizer" in data else {}
    data = {name: value for name, value in data.items() if name != "optimizer"}
    x, labels = parity()
    data = Shuffled(
        x.astype(params.get("dtype", "float32")), labels, **{"batch_size": 16, "seed": 3} | data
    )
    with pytest.raises(CheckpointError) as caught:
        train(
            model,
            model.init(seed=0, **params),
            data,
            steps=4,
            checkpoint=path,
            resume=True,
            **options,
        )
    for word in words:
        assert word in str(caught.value)
    assert path.read_bytes() == before


class OwnCell(prnn.cells.GRU):
    """A cell that no file can describe."""


@pytest.mark.parametrize(
    ("model", "data", "optimizer", "words"),
    [
        (prnn.RNN(1, 8, 2, cell=OwnCell()), {}, None, "cell: only cells of the library"),
        (MODEL, {"describe": lambda: {"seed": object()}}, None, "cannot be described in a file"),
        (MODEL, {}, lambda p, g, s, lr: (p, {"n": object()}), "optimizer: a state that can be"),
    ],
)
def test_a_run_that_cannot_be_saved_is_refused_before_work_is_lost(
    tmp_path, model, data, optimizer, words
):
    batches = source()
    vars(batches).update(data)
    options = {} if optimizer is None else {"optimizer": optimizer}
    steps = []

    class Count(Callback):
        def on_step(self, run):
            steps.append(run.step)

    with pytest.raises(TypeError, match=words):
        train(
            model,
            model.init(seed=0),
            batches,
            steps=9,
            checkpoint=tmp_path / "c",
            callbacks=[Count()],
            **options,
        )
    assert steps == []
    assert not (tmp_path / "c").exists()


def test_numpy_integers_are_counts_in_a_checkpoint_too(tmp_path):
    given = {name: np.int32(1) for name in ("log_every", "save_every", "evaluate_every")}
    path = tmp_path / "run"
    run = train(
        *(MODEL, MODEL.init(seed=0), source()),
        **{"steps": np.int32(2), "validation": source(), "checkpoint": path} | given,
    )
    again = train(
        *(MODEL, MODEL.init(seed=0), source()),
        **{"steps": 2, "validation": source(), "checkpoint": path, "resume": True},
    )
    assert again.step == run.step == 2


def test_a_source_that_does_not_describe_itself_by_a_dict_is_not_saved(tmp_path):
    data = source()
    own = type("Own", (), {"steps_per_epoch": 2, "batch": lambda self, step: data.batch(step)})
    own.describe = lambda self: [1]
    train(MODEL, MODEL.init(seed=0), own(), steps=1)
    with pytest.raises(TypeError, match=r"^batches\.describe: expected .*a dict, got \[1\]"):
        train(MODEL, MODEL.init(seed=0), own(), steps=1, checkpoint=tmp_path / "run")


def test_a_checkpoint_of_a_version_without_a_field_is_resumed(tmp_path):
    """Fields of a model that came later have the value that they had then."""
    path = tmp_path / "run"
    go = functools.partial(train, MODEL, MODEL.init(seed=0), source(), lr=0.01, checkpoint=path)
    go(steps=3)
    arrays, header = prnn.serialization.load_arrays(path)
    for name in ("vocabulary_size", "tied", "pool", "reverse"):
        del header["run"]["model"][name]
    prnn.serialization.save_arrays(path, arrays, header)
    assert go(steps=5, resume=True).step == 5
    header["run"]["model"]["pool"] = "last"
    prnn.serialization.save_arrays(path, arrays, header)
    with pytest.raises(CheckpointError, match="belongs to another run; model: pool last where"):
        go(steps=5, resume=True)
