"""The training loop: what it learns, its callbacks, and what ends it."""

import functools
import os
import signal

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.batches import Batch, Shuffled
from portable_rnn.training import Callback, train

from .runs import MODEL, lanes, parity, ragged, same, source


def test_learns_parity():
    run = train(MODEL, MODEL.init(seed=0), source(), steps=400, lr=0.02, validation=source())
    assert run.evaluation < 0.1 < np.log(2)


def test_a_custom_loss_need_not_take_weights():
    def distance(outputs, targets):
        off = outputs - targets[..., None].astype(outputs.dtype)
        return (off**2).sum(), 2 * off

    model = prnn.RNN(input_size=1, hidden_size=8, output_size=1)
    assert train(model, model.init(seed=0), source(), steps=2, loss=distance).step == 2


def test_state_is_carried_between_windows_and_dropped_at_the_start(monkeypatch):
    seen = []

    def spy(model, params, x, targets, *, state, **options):
        seen.append(state)
        return prnn.bptt(model, params, x, targets, state=state, **options)

    monkeypatch.setattr("portable_rnn.training.objective.bptt", spy)
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


def test_callbacks_are_called_for_everything_in_order(tmp_path):
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


class Terminate(Callback):
    def on_step(self, run):
        if run.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_sigterm_finishes_the_step_saves_and_ends_the_process(tmp_path):
    go = functools.partial(train, MODEL, MODEL.init(seed=0), source(), steps=9)
    with pytest.raises(SystemExit) as ended:
        go(checkpoint=tmp_path / "c", callbacks=[Terminate()])
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    resumed = go(checkpoint=tmp_path / "c", resume=True, callbacks=[first := Steps()])
    assert first.steps == [5, 6, 7, 8, 9]
    assert same(resumed.params, go().params)


class Steps(Callback):
    def __init__(self):
        self.steps = []

    def on_step(self, run):
        self.steps.append(run.step)


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_a_handler_of_sigterm_is_left_alone(tmp_path, request):
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *given: heard.append(given))
    request.addfinalizer(lambda: signal.signal(signal.SIGTERM, before))
    run = train(
        MODEL,
        MODEL.init(seed=0),
        source(),
        steps=9,
        checkpoint=tmp_path / "c",
        callbacks=[Terminate()],
    )
    assert (run.step, len(heard)) == (9, 1)


def test_without_a_checkpoint_ctrl_c_is_left_alone(request):
    # Tests that are started in the background may ignore SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))

    class Interrupt(Callback):
        def on_step(self, run):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(MODEL, MODEL.init(seed=0), source(), steps=9, callbacks=[Interrupt()])


@pytest.mark.parametrize("optimizer", [prnn.optimizers.adam, prnn.optimizers.adamw])
def test_a_batch_in_which_nothing_counts_neither_ends_nor_spoils_a_run(optimizer, tmp_path):
    """Its loss is NaN and left out, its gradient zero; momentum continues."""
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


def test_a_batch_in_which_nothing_counts_takes_a_step_of_zero_gradients():
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


def test_a_loss_of_nan_with_a_gradient_is_refused():
    """Such a NaN is not the mean of an empty batch."""

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


def test_a_rate_fixed_in_the_optimizer_is_refused_and_other_options_are_not():
    """It would be replaced at each step without notice."""
    for fixed in ({"lr": 0.9}, {"lr": 0.9, "momentum": 0.5}):
        optimizer = functools.partial(functools.partial(prnn.optimizers.sgd, **fixed))
        with pytest.raises(ValueError, match=r"^optimizer: lr=0\.9 is fixed in it, .* lr=\.\.\.$"):
            train(MODEL, MODEL.init(seed=0), source(), steps=1, optimizer=optimizer)
    optimizer = functools.partial(prnn.optimizers.sgd, momentum=0.5)
    assert train(MODEL, MODEL.init(seed=0), source(), steps=1, optimizer=optimizer).step == 1


def test_a_checkpoint_is_not_taken_for_weights(tmp_path):
    pytest.importorskip("safetensors")
    run = train(MODEL, MODEL.init(seed=0), source(), steps=1, checkpoint=tmp_path / "c")
    with pytest.raises(prnn.serialization.CheckpointError, match="expected weights, got a checkp"):
        prnn.serialization.load_weights(tmp_path / "c")
    prnn.serialization.save_weights(tmp_path / "w", run.params)
    assert same(prnn.serialization.load_weights(tmp_path / "w"), run.params)
