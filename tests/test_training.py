"""The training loop: what it reaches, what it promises on resume, what it refuses."""

import functools
import os
import signal
import warnings

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.batches import Batch, Shuffled, Windows
from portable_rnn.serialization import CheckpointError
from portable_rnn.training import Callback, evaluate, train

MODEL = prnn.RNN(input_size=1, hidden_size=8, output_size=2, cell="gru")


# Tuples come back from a file as lists, and must not look like another model for it.
OPTIONS = prnn.cells.LSTM(peepholes=True, activations=(("elu", 0.5), "tanh", "tanh"), clip=2.0)


def parity(count=64, steps=6, seed=0):
    """Sequences of bits; the target at each step is the parity so far."""
    bits = np.random.default_rng(seed).integers(0, 2, (steps, count))
    return bits[:, :, None].astype(np.float32), np.cumsum(bits, axis=0) % 2


def source(**options):
    return Shuffled(*parity(), **{"batch_size": 16, "seed": 3} | options)


def lanes():
    bits, labels = parity(count=1, steps=600)
    return Windows(bits[:, 0, :], labels[:, 0], batch_size=4, window=10)


def same(a, b):
    return all(a[name].tobytes() == b[name].tobytes() for name in a)


class Stop(Callback):
    def __init__(self, step):
        self.at = step

    def on_step(self, run):
        if run.step == self.at:
            run.stop("enough")


def test_learns_parity():
    run = train(MODEL, MODEL.init(seed=0), source(), steps=400, lr=0.02, validation=source())
    assert run.evaluation < 0.1 < np.log(2)


def test_a_loss_of_ones_own_need_not_know_weights():
    def distance(outputs, targets):
        off = outputs - targets[..., None].astype(outputs.dtype)
        return (off**2).sum(), 2 * off

    model = prnn.RNN(input_size=1, hidden_size=8, output_size=1)
    assert train(model, model.init(seed=0), source(), steps=2, loss=distance).step == 2


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
    assert resumed.loss == whole.loss  # losses read but not yet logged survive too


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    go = functools.partial(train, MODEL, MODEL.init(seed=0), source(), steps=5)
    first = go(checkpoint=tmp_path / "c")
    again = go(checkpoint=tmp_path / "c", resume=True)
    assert again.step == 5
    assert same(first.params, again.params)


def test_state_is_carried_between_windows_and_dropped_at_the_start(monkeypatch):
    seen = []

    def spy(model, params, x, targets, *, state, **options):
        seen.append(state)
        return prnn.bptt(model, params, x, targets, state=state, **options)

    monkeypatch.setattr("portable_rnn.training.update.bptt", spy)
    data = lanes()
    train(MODEL, MODEL.init(seed=0), data, steps=data.steps_per_epoch + 2)
    assert [state is None for state in seen[:2]] == [True, False]
    assert seen[data.steps_per_epoch] is None


def test_weights_of_a_batch_reach_the_loss():
    x, labels = parity()
    weights = np.zeros(labels.shape, dtype=np.float32)
    start = MODEL.init(seed=0)
    run = train(
        MODEL,
        start,
        Shuffled(x, labels, weights=weights, batch_size=64),
        steps=1,
        optimizer=prnn.optimizers.sgd,
        loss=functools.partial(prnn.losses.softmax_cross_entropy, reduction="sum"),
    )
    assert same(run.params, start)  # nothing counts, so nothing is learned


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


def ragged_source(padding=0.0, **options):
    x, labels = parity()
    lengths = np.random.default_rng(1).integers(0, 7, x.shape[1])
    there = np.arange(6)[:, None] < lengths
    x = np.where(there[..., None], x, np.float32(padding))
    labels = np.where(there, labels, -1)
    given = {"batch_size": 16, "seed": 3, "lengths": lengths} | options
    return Shuffled(x, labels, **given), x, labels, lengths


def test_training_and_evaluation_do_not_see_padding():
    start = MODEL.init(seed=0)
    runs = []
    for padding in (0.0, np.nan):
        data = ragged_source(padding)[0]
        run = train(MODEL, start, data, steps=60, lr=0.02, validation=data)
        runs.append((run.evaluation, run.params))
    assert runs[0][0] == runs[1][0] < evaluate(MODEL, start, data)
    assert same(runs[0][1], runs[1][1])


def test_an_evaluation_of_ragged_batches_is_the_mean_over_all_steps():
    data, x, labels, lengths = ragged_source()
    params = MODEL.init(seed=0, dtype="float32")
    outputs = prnn.predict(MODEL, params, x, lengths=lengths)
    there = np.arange(6)[:, None] < lengths
    want, _ = prnn.losses.softmax_cross_entropy(outputs, np.where(there, labels, 0), weights=there)
    assert evaluate(MODEL, params, data) == pytest.approx(float(want), rel=1e-6)


def test_weights_and_lengths_of_a_batch_go_together():
    x, labels = parity()
    lengths = np.arange(64) % 7
    weights = np.random.default_rng(0).random(labels.shape, dtype=np.float32)
    source = Shuffled(x, labels, weights=weights, lengths=lengths, batch_size=64)
    there = np.arange(6)[:, None] < lengths
    outputs = prnn.predict(MODEL, MODEL.init(seed=0), x, lengths=lengths)
    want, _ = prnn.losses.softmax_cross_entropy(outputs, labels, weights=weights * there)
    assert evaluate(MODEL, MODEL.init(seed=0), source) == pytest.approx(float(want), rel=1e-5)


def test_early_stopping_keeps_the_best(tmp_path):
    start = MODEL.init(seed=0)
    run = train(
        MODEL,
        start,
        source(),
        steps=500,
        lr=0.0,
        validation=source(),
        evaluate_every=5,
        patience=3,
    )
    assert run.step == 20  # the first evaluation is the best, three more are not better
    assert run.best_step == 5
    assert "no better evaluation since step 5" in run.stop_reason


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


def test_evaluation_counts_what_the_weights_count():
    """However the sequences fall into batches, some of which may count for nothing."""
    params = MODEL.init(seed=0)
    x, labels = parity()
    weights = np.zeros(labels.shape, dtype=np.float32)
    weights[:4, :20] = 1.0
    whole, _ = prnn.losses.softmax_cross_entropy(
        prnn.predict(MODEL, params, x), labels, weights=weights
    )
    with warnings.catch_warnings():  # NumPy on the mean of a batch that counts for nothing
        warnings.simplefilter("ignore", RuntimeWarning)
        for batch_size in (1, 7, 64):
            data = Shuffled(x, labels, weights=weights, batch_size=batch_size)
            assert evaluate(MODEL, params, data) == pytest.approx(float(whole), rel=1e-5)


def test_evaluation_is_the_mean_over_everything():
    params = MODEL.init(seed=0)
    x, labels = parity()
    whole, _ = prnn.losses.softmax_cross_entropy(prnn.predict(MODEL, params, x), labels)
    for batch_size in (64, 16, 10):
        value = evaluate(MODEL, params, source(batch_size=batch_size))
        assert value == pytest.approx(float(whole), rel=1e-5)


def test_callbacks_hear_everything_in_order(tmp_path):
    heard = []

    class Listener(Callback):
        def __getattribute__(self, name):
            if name.startswith("on_"):
                return lambda run, *args: heard.append((name, run.step))
            return super().__getattribute__(name)

    train(
        MODEL,
        MODEL.init(seed=0),
        source(),
        steps=4,
        validation=source(),
        evaluate_every=2,
        log_every=2,
        save_every=3,
        checkpoint=tmp_path / "c",
        callbacks=[Listener()],
    )
    assert [name for name, step in heard if name != "on_step"] == [
        "on_start",
        "on_log",
        "on_evaluate",
        "on_save",
        "on_log",
        "on_evaluate",
        "on_save",
        "on_end",
    ]
    assert [step for name, step in heard if name == "on_step"] == [1, 2, 3, 4]


def test_ctrl_c_finishes_the_step_saves_and_returns(tmp_path):
    class Interrupt(Callback):
        def on_step(self, run):
            if run.step == 4:
                os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    go = functools.partial(train, MODEL, MODEL.init(seed=0), source(), steps=9)
    run = go(checkpoint=tmp_path / "c", callbacks=[Interrupt()])
    assert (run.step, run.stop_reason) == (4, "interrupted")
    assert signal.getsignal(signal.SIGINT) is handler
    resumed = go(checkpoint=tmp_path / "c", resume=True)
    assert same(resumed.params, go().params)


def test_without_a_checkpoint_ctrl_c_is_left_alone():
    class Interrupt(Callback):
        def on_step(self, run):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(MODEL, MODEL.init(seed=0), source(), steps=9, callbacks=[Interrupt()])


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
        (prnn.RNN(1, 8, 2, cell="lstm"), {}, {}, ("model", "cell 'gru'", "'lstm'")),
        (MODEL, {"dtype": "float64"}, {}, ("float64", "got float32")),
        (MODEL, {}, {"seed": 9}, ("batches", "seed 3", "9")),
        (MODEL, {}, {"optimizer": prnn.optimizers.rmsprop}, ("optimizer", "adam", "rmsprop")),
        (
            MODEL,
            {},
            {"optimizer": functools.partial(prnn.optimizers.adam, eps=1e-3)},
            ("optimizer", "eps None where '0.001'"),
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


@pytest.mark.parametrize(
    ("options", "kind", "word"),
    [
        ({"steps": 0}, ValueError, "steps: expected at least 1, got 0"),
        ({"steps": 2.5}, TypeError, "steps: expected an int, got 2.5"),
        ({"log_every": 0}, ValueError, "log_every"),
        ({"save_every": -1}, ValueError, "save_every"),
        ({"patience": 3}, ValueError, "patience: needs validation batches"),
        ({"evaluate_every": 3}, ValueError, "evaluate_every: needs validation batches"),
        ({"checkpoint": "no/such/folder/c"}, ValueError, "checkpoint: expected an existing"),
        ({"resume": True}, ValueError, "resume: needs a checkpoint"),
        ({"checkpoint": __file__}, ValueError, "pass resume=True to go on"),
        (
            {"optimizer": "adam"},
            TypeError,
            "optimizer: expected a callable (params, grads, state, lr=...), got 'adam'",
        ),
        ({"validation": 3}, TypeError, "validation: expected a source such as Shuffled"),
        ({"lr": -0.1}, ValueError, "lr: expected a number of at least 0, got -0.1"),
    ],
)
def test_bad_options_are_named(options, kind, word):
    with pytest.raises(kind) as caught:
        train(MODEL, MODEL.init(seed=0), source(), **{"steps": 3} | options)
    assert word in str(caught.value)


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
def test_what_cannot_be_saved_is_refused_before_work_is_lost(
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


def ragged(lengths, **options):
    """Sequences one by one, of which some may have no steps at all."""
    x, labels = parity(count=len(lengths))
    return Shuffled(x, labels, batch_size=1, lengths=lengths, seed=1, **options)


ignoring = functools.partial(prnn.losses.softmax_cross_entropy, ignore_index=1)


@pytest.mark.parametrize("optimizer", [prnn.optimizers.adam, prnn.optimizers.adamw])
def test_a_batch_in_which_nothing_counts_neither_ends_nor_spoils_a_run(optimizer, tmp_path):
    """Its loss is NaN and left out, its gradient zero: what else there is goes on (momentum)."""
    losses = []

    class Watch(Callback):
        def on_log(self, run):
            losses.append(run.loss)

    go = functools.partial(
        train,
        MODEL,
        MODEL.init(seed=0),
        ragged([6, 0, 3, 5]),
        steps=12,
        optimizer=optimizer,
        log_every=1,
        max_norm=1.0,
        validation=ragged([6, 0, 3, 5]),
    )
    run = go(callbacks=[Watch()])
    assert [bool(np.isnan(loss)) for loss in losses].count(True) == 3  # one in each epoch
    assert np.isfinite(run.evaluation)
    assert all(np.isfinite(p).all() for p in run.params.values())
    assert np.isfinite(go(log_every=4).loss)
    once, again = go(log_every=12), go(log_every=12, checkpoint=tmp_path / "c", save_every=1)
    assert once.loss == pytest.approx(np.nanmean(losses), rel=1e-6)
    assert same(once.params, again.params)


def test_its_step_is_one_of_zero_gradients():
    x, labels = parity(count=2)
    run = train(MODEL, MODEL.init(seed=0), Shuffled(x, labels, batch_size=2), steps=1)
    zeros = {name: np.zeros_like(p) for name, p in run.params.items()}
    want, _ = prnn.optimizers.adam(run.params, zeros, run.optimizer_state)

    class Then:
        steps_per_epoch = 2

        def batch(self, step):
            return Batch(x, labels, (np.ones if step == 0 else np.zeros)((6, 2), np.float32))

        def describe(self):
            return {}

    got = train(MODEL, MODEL.init(seed=0), Then(), steps=2)
    assert same(got.params, want)
    assert np.isfinite(got.loss)


def test_labels_that_are_all_ignored_are_nothing_too():
    x, labels = parity(count=4)
    labels[:, 1:3] = 1  # and so ignored
    whole = Shuffled(x, labels, batch_size=1)
    run = train(MODEL, MODEL.init(seed=0), whole, steps=4, loss=ignoring)
    assert np.isfinite(run.loss)
    counted = Shuffled(x[:, [0, 3]], labels[:, [0, 3]], batch_size=1)
    found = evaluate(MODEL, run.params, whole, loss=ignoring)
    assert found == pytest.approx(evaluate(MODEL, run.params, counted, loss=ignoring), rel=1e-6)
    nothing = Shuffled(x, np.ones_like(labels), batch_size=3)
    assert np.isnan(evaluate(MODEL, run.params, nothing, loss=ignoring))
    assert np.isnan(evaluate(MODEL, run.params, ragged([0, 0])))


def test_a_loss_of_nan_with_a_gradient_is_refused():
    """It is no mean of nothing."""

    def careless(outputs, targets):
        value, d_outputs = prnn.losses.softmax_cross_entropy(outputs, targets)
        return value * np.nan, d_outputs

    with pytest.raises(FloatingPointError, match=r"got NaN or infinity by step 1,"):
        train(MODEL, MODEL.init(seed=0), source(), steps=3, loss=careless, log_every=1)


def test_half_precision_trains_with_the_defaults():
    x, labels = parity()
    halves = Shuffled(x.astype(np.float16), labels, batch_size=16, seed=3)
    first = MODEL.init(seed=0, dtype="float16")
    run = train(MODEL, first, halves, steps=300, lr=0.02, max_norm=1.0, validation=halves)
    assert run.evaluation < 0.3 < np.log(2)
    assert {p.dtype for p in run.params.values()} == {np.dtype(np.float16)}
    run = train(MODEL, first, halves, steps=50, optimizer=prnn.optimizers.rmsprop, lr=0.01)
    assert run.loss < np.log(2)


def test_an_evaluation_counts_more_weights_than_half_precision_can():
    model = prnn.RNN(1, 2, 2)
    x = np.zeros((100, 700, 1), dtype=np.float16)
    weights = np.ones((100, 700), dtype=np.float16)
    halves = Shuffled(x, np.zeros((100, 700), dtype=int), batch_size=700, weights=weights)
    assert np.isfinite(evaluate(model, model.init(seed=0, dtype="float16"), halves))


@pytest.mark.parametrize("lr", [-1.0, float("nan"), float("inf"), "0.1", True, [0.1]])
def test_a_learning_rate_that_is_none_is_refused(lr):
    for given in (lr, lambda step: lr):
        with pytest.raises((TypeError, ValueError), match=r"^lr: expected a number of at least 0"):
            train(MODEL, MODEL.init(seed=0), source(), steps=3, lr=given)


class Half:
    """What has one method of a callback."""

    def on_start(self, run):
        raise AssertionError("it was called")


class Narrow(prnn.training.Callback):
    """A callback with a method that cannot be called."""

    def on_step(self):
        raise AssertionError("it was called")


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        (3, "callbacks: expected an iterable of Callback, got 3"),
        (prnn.training.Callback(), "callbacks: expected an iterable of Callback"),
        ([prnn.training.Callback], r"callbacks\[0\]: .* got the class Callback"),
        ([Half()], r"callbacks\[0\]\.on_step: expected a callable \(run\), got None"),
        ([Narrow()], r"callbacks\[0\]\.on_step: expected a callable \(run\), got one that takes"),
    ],
)
def test_what_is_no_callback_is_refused_before_the_first_step(callbacks, message):
    with pytest.raises(TypeError, match=f"^{message}"):
        train(MODEL, MODEL.init(seed=0), source(), steps=3, callbacks=callbacks)


def test_what_an_optimizer_returns_is_parameters_and_a_state():
    for returned, message in (
        (None, r"optimizer: expected it to return \(params, state\), got NoneType"),
        (({}, {}, {}), r"optimizer: expected it to return \(params, state\), got tuple"),
        ((None, {}), "optimizer: what it returned has params: expected a dict"),
        (({}, {}), "optimizer: what it returned has params: missing weight_ih_l0"),
    ):
        with pytest.raises((TypeError, ValueError), match=f"^{message}"):
            train(
                *(MODEL, MODEL.init(seed=0), source()),
                **{"steps": 3, "optimizer": lambda p, g, s, lr, out=returned: out},
            )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": lambda params, grads, state: None}, "optimizer: expected a callable"),
        ({"lr": lambda: 0.1}, r"lr: expected a callable \(step\), got one that takes \(\)"),
        ({"lr": lambda step, more: 0.1}, r"lr: expected a callable \(step\)"),
        ({"max_norm": 10**5000}, "max_norm: expected a number above 0"),
        ({"max_norm": "1"}, "max_norm: expected a number above 0"),
        ({"loss": None}, "loss: expected a callable"),
        ({"loss": lambda outputs: None}, "loss: expected a callable"),
    ],
)
def test_a_function_of_another_form_is_refused_before_the_first_step(options, message):
    seen = []
    watch = type("Watch", (prnn.training.Callback,), {"on_step": lambda self, run: seen.append(1)})
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        train(*(MODEL, MODEL.init(seed=0), source()), steps=3, callbacks=[watch()], **options)
    assert not seen


def test_evaluation_checks_a_loss_as_training_does():
    for loss, message in (
        (None, "loss: expected a callable, got NoneType"),
        (lambda outputs: None, "loss: expected a callable .*got one that takes"),
        (lambda outputs, targets: None, r"loss: expected it to return \(value, d_outputs\)"),
        (lambda outputs, targets: (None, outputs), "value returned by the loss: expected"),
    ):
        with pytest.raises(TypeError, match=f"^{message}"):
            prnn.training.evaluate(MODEL, MODEL.init(seed=0), source(), loss=loss)


def test_numpys_integers_are_counts_in_a_checkpoint_too(tmp_path):
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
