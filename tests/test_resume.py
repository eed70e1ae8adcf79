"""A run in parts equals the uninterrupted run in every field; other parts are refused."""

import dataclasses
import functools
import re
from typing import NamedTuple

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.batches import Shuffled, Windows
from portable_rnn.serialization import CheckpointError, load_arrays, save_arrays
from portable_rnn.training import Callback, train

from .campaign import FULL
from .runs import Stop

pytestmark = pytest.mark.reliability

STEPS = 29
PLAIN = prnn.RNN(1, 5, 2, cell="gru")
DROPPING = prnn.RNN(
    1, 5, 2, cell="lstm", num_layers=2, dropout=0.3, recurrent_dropout=0.2, zoneout=0.1
)


@pytest.fixture(autouse=True)
def _in_memory(monkeypatch):
    """Do not wait for the disk: test_serialization.py tests that files are written whole."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def bits(steps, count, seed=0):
    drawn = np.random.default_rng(seed).integers(0, 2, (steps, count))
    return drawn[:, :, None].astype(np.float32), np.cumsum(drawn, axis=0) % 2


def shuffled(seed=3):
    return Shuffled(*bits(4, 12), batch_size=5, seed=seed)


def windows():
    x, labels = bits(120, 1)
    return Windows(x[:, 0], labels[:, 0], batch_size=2, window=7)


# What is not of the run, but of the call that made its last steps.
OF_CALL = ("seconds", "batch")


def fields(run):
    """Return every field of a run but those in a comparable form: arrays as bytes."""

    def plain(value):
        if isinstance(value, np.ndarray | np.generic):
            return value.dtype, value.shape, value.tobytes()
        if isinstance(value, dict):
            return {name: plain(one) for name, one in value.items()}
        if isinstance(value, tuple | list):
            return type(value), [plain(one) for one in value]
        return repr(value) if isinstance(value, float) else value

    names = [f.name for f in dataclasses.fields(run) if f.name not in OF_CALL]
    return {name: plain(getattr(run, name)) for name in names}


def both(a, b):
    """Return an optimizer that wraps two: one for the matrices, one for the vectors."""

    def update(params, grads, state, *, lr):
        first = [name for name in params if "weight" in name]
        parts, states = {}, []
        names = (first, [name for name in params if name not in first])
        for optimizer, few, held in zip((a, b), names, state or (None, None), strict=True):
            given = {n: params[n] for n in few}, {n: grads[n] for n in few}, held
            new, held = optimizer(*given, lr=lr)
            parts |= new
            states.append(held)
        return {name: parts[name] for name in params}, tuple(states)

    return update


# Options of a run; an `lr` of 0.5 makes evaluations rise and fall.
RUNS = {
    "plain": {},
    "evaluated": {"validation": shuffled(1), "evaluate_every": 10, "lr": 0.5},
    "impatient": {"validation": shuffled(1), "evaluate_every": 4, "lr": 0.5, "patience": 3},
    "plateau": {
        **{"validation": shuffled(1), "evaluate_every": 4},
        "lr": functools.partial(prnn.schedules.plateau, lr=0.5, factor=0.5, patience=1),
    },
    "dropping": {"model": DROPPING, "seed": 4, "validation": shuffled(1), "evaluate_every": 6},
    "windows": {"batches": windows(), "validation": windows(), "evaluate_every": 7},
    "clipped": {"max_norm": 0.1, "lr": functools.partial(prnn.schedules.cosine, lr=0.1, steps=60)},
    "wrapped": {
        "optimizer": both(
            functools.partial(prnn.optimizers.sgd, momentum=0.9), prnn.optimizers.adam
        )
    },
}


def trainer(name, log_every=4):
    options = {"log_every": log_every, "save_every": 9, "lr": 0.02} | RUNS[name]
    model = options.pop("model", PLAIN)
    batches = options.pop("batches", shuffled())
    return functools.partial(train, model, model.init(seed=0), batches, **options)


@functools.lru_cache
def whole(name, steps=STEPS):
    return fields(trainer(name)(steps=steps))


# Runs log, evaluate or save every 4, 6, 7, 9 or 10 steps; at 13 none does. All: nox -s reliability.
CUTS = range(1, STEPS) if FULL else (1, 4, 7, 9, 10, 13, 18, 20, 27, 28)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_is_given_more_steps_equals_the_uninterrupted_run(tmp_path, name, cut):
    go = trainer(name)
    first = fields(go(steps=cut, checkpoint=tmp_path / "c"))
    assert first == whole(name, cut)  # with a checkpoint as without
    assert fields(go(steps=cut, checkpoint=tmp_path / "c", resume=True)) == first
    assert fields(go(steps=STEPS, checkpoint=tmp_path / "c", resume=True)) == whole(name)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_is_stopped_repeatedly_equals_the_uninterrupted_run(tmp_path, name):
    go = functools.partial(trainer(name), steps=STEPS, checkpoint=tmp_path / "c", resume=True)
    for step in (*range(1, 17, 2), 20, 21, 27, 28):
        go(callbacks=[Stop(step)])
    assert fields(go()) == whole(name)


def test_a_short_part_does_not_choose_the_best_step(tmp_path):
    go = trainer("evaluated")
    short = go(steps=13, checkpoint=tmp_path / "c")
    assert short.best_step in (10, 13)
    evaluated = []

    class Listen(Callback):
        def on_evaluate(self, run):
            evaluated.append(run.step)

    run = go(steps=40, checkpoint=tmp_path / "c", resume=True, callbacks=[Listen()])
    assert evaluated == [20, 30, 40]
    assert run.best_step % 10 == 0


def test_a_resumed_run_is_evaluated_as_often_as_it_was_begun(tmp_path):
    go = functools.partial(
        train, PLAIN, PLAIN.init(seed=0), shuffled(), validation=shuffled(1), lr=0.02
    )
    go(steps=50, checkpoint=tmp_path / "c")  # every 5 steps
    parts = go(steps=200, checkpoint=tmp_path / "c", resume=True)
    assert fields(parts) == fields(go(steps=200, evaluate_every=5))


def test_a_checkpoint_with_more_steps_than_requested_is_refused(tmp_path):
    go = trainer("plain")
    go(steps=9, checkpoint=tmp_path / "c")
    with pytest.raises(CheckpointError, match=r"c: this run has made 9 steps, and 8 are asked for"):
        go(steps=8, checkpoint=tmp_path / "c", resume=True)


def other_loss(outputs, targets):
    return prnn.losses.softmax_cross_entropy(outputs, targets)


def changed(x):
    data, labels = bits(4, 12)
    data[0, :] += np.float32(x)
    return Shuffled(data, labels, batch_size=5, seed=3)


class Holder:
    """A schedule without a name of its own."""

    def __init__(self, lr):
        self.lr = lr

    def __call__(self, step):
        return self.lr


cosine = functools.partial(prnn.schedules.cosine, steps=50)
plateau = functools.partial(prnn.schedules.plateau, lr=0.02)


@pytest.mark.parametrize(
    ("begun", "asked", "words"),
    [
        ({}, {"lr": 0.03}, "lr: lr 0.02 where 0.03 is asked for"),
        ({"lr": 0.01}, {"lr": 0.02}, "lr: lr 0.01 where 0.02"),
        (
            {"lr": functools.partial(cosine, lr=0.1)},
            {"lr": functools.partial(cosine, lr=0.1, final=0.01)},
            "lr: final none where 0.01 is asked for",
        ),
        (
            {"lr": plateau, "validation": shuffled(1)},
            {"lr": functools.partial(plateau, patience=3), "validation": shuffled(1)},
            "lr: patience none where 3 is asked for",
        ),
        ({"lr": lambda step: 0.1}, {"lr": lambda step: 0.2}, "lr: rate at step 5 0.1 where 0.2"),
        ({"lr": Holder(0.1)}, {"lr": Holder(0.3)}, "lr: rate at step 5 0.1 where 0.3 is asked for"),
        ({}, {"loss": other_loss}, "loss: name softmax_cross_entropy where other_loss"),
        (
            {},
            {"loss": functools.partial(prnn.losses.softmax_cross_entropy, reduction="sum")},
            "loss: reduction none where 'sum' is asked for",
        ),
        ({}, {"max_norm": 1.0}, "options: max_norm none where 1 is asked for"),
        ({"max_norm": 1}, {"max_norm": 2.0}, "options: max_norm 1 where 2 is asked for"),
        ({}, {"seed": 1}, "options: seed 0 where 1 is asked for"),
        ({}, {"batches": changed(1)}, "batches: first x (4, 5, 1), checksum"),
        ({}, {"validation": shuffled(1)}, "validation: batch_size none where 5"),
        (
            {"validation": shuffled(1)},
            {"validation": shuffled(2)},
            "validation: first targets (4, 5), checksum",
        ),
        (
            {"validation": shuffled(1), "evaluate_every": 3},
            {"validation": shuffled(1), "evaluate_every": 4},
            "evaluate_every 3 where 4 is asked for",
        ),
        ({}, {"optimizer": prnn.optimizers.rmsprop}, "optimizer: name adam where rmsprop"),
    ],
)
def test_arguments_of_another_run_are_refused(tmp_path, begun, asked, words):
    def go(steps, batches=None, **options):
        source = shuffled() if batches is None else batches
        options = {"lr": 0.02, "checkpoint": tmp_path / "c"} | options
        return train(PLAIN, PLAIN.init(seed=0), source, steps=steps, **options)

    go(6, **begun)
    before = (tmp_path / "c").read_bytes()
    with pytest.raises(CheckpointError) as caught:
        go(9, resume=True, **begun | asked)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'c'}: belongs to another run; ")
    assert words in message
    assert message.endswith("give what this run was begun with, or another path")
    assert (tmp_path / "c").read_bytes() == before
    assert go(9, resume=True, **begun).step == 9


@pytest.mark.parametrize("same", [{"max_norm": 1}, {"lr": 1}, {"lr": np.float64(0.02)}])
def test_the_same_number_is_the_same_run(tmp_path, same):
    (name, number) = next(iter(same.items()))
    go = functools.partial(
        train, PLAIN, PLAIN.init(seed=0), shuffled(), checkpoint=tmp_path / "c", steps=3
    )
    go(**{name: number})
    assert go(**{name: float(number)}, resume=True).step == 3


def test_weights_of_a_loss_are_compared_by_their_numbers(tmp_path):
    def weighted(outputs, targets, *, scale):
        value, gradient = prnn.losses.softmax_cross_entropy(outputs, targets)
        return value * scale[0], gradient * scale[0]

    def go(scale, **options):
        loss = functools.partial(weighted, scale=np.full(2, scale, np.float32))
        given = {"loss": loss, "checkpoint": tmp_path / "c"} | options
        return train(PLAIN, PLAIN.init(seed=0), shuffled(), steps=3, **given)

    go(2.0)
    assert go(2.0, resume=True).step == 3
    with pytest.raises(CheckpointError, match=r"loss: scale \(2,\), checksum"):
        go(3.0, resume=True)


# ------------------------------------------------------------------ the optimizer's state


class Pair(NamedTuple):
    a: object
    b: object


def remembering(make):
    """Return an optimizer whose state is a tree of all kinds."""

    def update(params, grads, state, *, lr):
        count = 0 if state is None else state["count"][0]
        tree = {"count": [count + 1, 0.5, None, True, "sgd"], 3: (make(grads), [], {}, ())}
        return {n: p - lr * grads[n] for n, p in params.items()}, tree

    return update


def test_any_tree_of_arrays_and_numbers_is_kept(tmp_path):
    optimizer = remembering(lambda grads: {"last/one": next(iter(grads.values())), "n": np.int8(2)})
    go = functools.partial(
        train, PLAIN, PLAIN.init(seed=0), shuffled(), optimizer=optimizer, checkpoint=tmp_path / "c"
    )
    first = fields(go(steps=5))
    again = go(steps=5, resume=True)
    assert fields(again) == first
    assert again.optimizer_state["count"][0] == 5
    assert type(again.optimizer_state[3]) is tuple


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda grads: Pair(1, 2), "got Pair in it"),
        (lambda grads: {(1, 2): 3}, "got dict in it"),
        (lambda grads: 1j, "got complex in it"),
        (lambda grads: np.zeros(2, complex), "files hold the dtypes"),
    ],
)
def test_a_state_that_no_file_can_hold_is_refused_at_the_first_step(tmp_path, make, words):
    seen = []
    watch = type("Watch", (Callback,), {"on_step": lambda self, run: seen.append(run.step)})
    with pytest.raises(TypeError, match=words):
        train(
            *(PLAIN, PLAIN.init(seed=0), shuffled()),
            **{"steps": 9, "optimizer": remembering(make), "callbacks": [watch()]},
            checkpoint=tmp_path / "c",
        )
    assert not seen
    assert not (tmp_path / "c").exists()


# ------------------------------------------------------------------- invalid files


def test_a_checkpoint_without_a_part_is_refused_by_name(tmp_path):
    """The header lacks an entry, or the file an array; its checksum is right."""
    go = trainer("evaluated")
    go(steps=5, checkpoint=tmp_path / "c")
    arrays, header = load_arrays(tmp_path / "c")
    files = [(arrays, {n: v for n, v in header.items() if n != name}) for name in header]
    files += [(arrays, header | {name: "x"}) for name in header if name != "optimizer_state"]
    files += [(arrays, header | {"run": header["run"] | {n: 3}}) for n in header["run"]]
    for missing in ("params/weight_hh_l0", "optimizer/0", "pending/0"):
        files.append(({n: a for n, a in arrays.items() if n != missing}, header))
    files.append((arrays | {"params/weight_hh_l0": np.ones(3, np.float32)}, header))
    files.append((arrays | {"state/0": np.ones((1, 5, 4), np.float32)}, header))
    files.append((arrays, {}))
    for number, (some, about) in enumerate(files):
        path = tmp_path / f"broken{number}"
        save_arrays(path, some, about)
        with pytest.raises(CheckpointError, match=rf"broken{number}: ") as raised:
            go(steps=9, checkpoint=path, resume=True)
        assert not re.search("object|attribute|Error", str(raised.value)), raised.value


def test_an_old_checkpoint_says_that_it_is_old(tmp_path):
    save = pytest.importorskip("safetensors.numpy").save_file
    params = {f"params/{name}": p for name, p in PLAIN.init(seed=0).items()}
    save(params, tmp_path / "c", metadata={"portable_rnn": '{"format": 1}'})
    with pytest.raises(CheckpointError, match=r"c: has no checksum, so it is damaged, or older"):
        trainer("plain")(steps=9, checkpoint=tmp_path / "c", resume=True)


def test_parameters_that_are_no_longer_finite_are_not_saved(tmp_path):
    def explode(params, grads, state, *, lr):
        step = 1 if state is None else state["step"] + 1
        factor = np.float32(np.inf if step == 5 else 1)
        return {n: p * factor for n, p in params.items()}, {"step": step}

    with (
        np.errstate(invalid="ignore"),
        pytest.raises(FloatingPointError, match="nothing was saved"),
    ):
        train(
            PLAIN,
            PLAIN.init(seed=0),
            shuffled(),
            steps=5,
            save_every=4,
            optimizer=explode,
            checkpoint=tmp_path / "c",
        )
    assert load_arrays(tmp_path / "c")[1]["step"] == 4


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"checkpoint": 3}, TypeError, "checkpoint: expected a path, got 3"),
        ({"checkpoint": ""}, ValueError, "checkpoint: expected a path, got ''"),
        ({"resume": "no"}, TypeError, "resume: expected True or False, got 'no'"),
        ({"resume": 1}, TypeError, "resume: expected True or False, got 1"),
    ],
)
def test_wrong_paths_and_flags_are_refused(options, kind, words):
    with pytest.raises(kind) as caught:
        trainer("plain")(steps=2, **options)
    assert words in str(caught.value)
