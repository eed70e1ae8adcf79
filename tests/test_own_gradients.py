"""Training by gradients of the user's own: the same runs, checkpoints and evaluations."""

import functools

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.batches import Batch
from portable_rnn.serialization import CheckpointError
from portable_rnn.training import Callback, evaluate, train

from .runs import MODEL, Stop, lanes, parity, same, source

DROPPING = prnn.RNN(1, 8, 2, cell="gru", num_layers=2, dropout=0.3, zoneout=0.2)


def as_built_in(model, batch, params, state, seed):
    """Return what `train` computes by itself, from a batch."""
    masks = prnn.dropout.draw(model, batch.x, seed)
    result = prnn.bptt(model, params, batch.x, batch.targets, state=state, dropout=masks)
    return result.loss, result.grads, result.state


def own(model):
    def gradients(params, batch, state, seed):
        return as_built_in(model, batch, params, state, seed)

    return gradients


def outputs_of(model):
    def predict(params, batch, state):
        return prnn.predict(model, params, batch.x, state, return_state=True)

    return predict


@pytest.mark.parametrize("batches", [source, lanes])
@pytest.mark.parametrize("model", [MODEL, DROPPING])
def test_own_gradients_equal_to_the_built_in_ones_give_the_same_run(model, batches):
    options = {"steps": 20, "lr": 0.02, "max_norm": 0.5, "validation": batches(), "log_every": 3}
    options |= {"metrics": ["accuracy"]}
    want = train(model, model.init(seed=0), batches(), **options)
    given = {"gradients": own(model), "predict": outputs_of(model)}
    got = train(model, model.init(seed=0), batches(), **given, **options)
    assert same(got.params, want.params)
    for name in ("loss", "evaluation", "gradient_norm", "evaluation_metrics", "best_step"):
        assert getattr(got, name) == getattr(want, name), name
    again = evaluate(None, got.params, batches(), predict=given["predict"], metrics=["accuracy"])
    assert again == {"loss": got.evaluation, **got.evaluation_metrics}


def test_each_step_has_a_seed_of_its_own():
    seeds = []

    def gradients(params, batch, state, seed):
        seeds.append(seed)
        return 0.0, params, None

    train(None, start(), source(), steps=3, seed=7, gradients=gradients)
    assert seeds == [(7, 0), (7, 1), (7, 2)]


def head(params, batch, state):
    """A recurrent layer whose last state is read out by a matrix of its own; counts batches."""
    layer = prnn.RNN(1, 8, cell="gru")
    inner = {name: params[name] for name in layer.parameter_shapes}
    forward = prnn.forward(layer, inner, batch.x)
    last = forward.outputs[-1]
    scores = last @ params["head"]
    value, d_scores = prnn.losses.softmax_cross_entropy(scores, batch.targets[-1])
    d_outputs = np.zeros_like(forward.outputs)
    d_outputs[-1] = d_scores @ params["head"].T
    grads = dict(prnn.backward(layer, inner, forward.tape, d_outputs).params)
    count = 0 if state is None else state["batches"]
    return value, grads | {"head": last.T @ d_scores}, {"batches": count + 1, "last": (last,)}


def read_out(params, batch, state):
    layer = prnn.RNN(1, 8, cell="gru")
    inner = {name: params[name] for name in layer.parameter_shapes}
    return (prnn.predict(layer, inner, batch.x)[-1] @ params["head"])[None], state


def start():
    rng = np.random.default_rng(0)
    layer = prnn.RNN(1, 8, cell="gru")
    return layer.init(seed=0) | {"head": rng.standard_normal((8, 2)).astype(np.float32)}


class Carried:
    """Batches whose state is carried on, so that a state of one's own is saved."""

    steps_per_epoch = 4

    def __init__(self):
        self._inner = source()

    def batch(self, step):
        return self._inner.batch(step)._replace(fresh=step == 0)

    def describe(self):
        return self._inner.describe()


def test_a_head_of_ones_own_learns_and_resumes_to_the_same_bits(tmp_path):
    go = functools.partial(train, None, start(), Carried(), steps=200, lr=0.05, gradients=head)
    whole = go()
    assert whole.loss < 0.4
    assert whole.state["batches"] == 200
    go(checkpoint=tmp_path / "c", callbacks=[Stop(67)])
    rest = go(checkpoint=tmp_path / "c", resume=True)
    assert same(rest.params, whole.params)
    assert rest.loss == whole.loss
    assert rest.state["batches"] == 200
    assert rest.state["last"][0].tobytes() == whole.state["last"][0].tobytes()


def test_a_resumed_run_with_other_gradients_is_refused(tmp_path):
    def other(params, batch, state):
        return head(params, batch, state)

    go = functools.partial(train, None, start(), source(), steps=4, checkpoint=tmp_path / "c")
    go(gradients=head)
    with pytest.raises(CheckpointError, match=r"gradients: name head where other is"):
        go(gradients=other, resume=True)
    with pytest.raises(CheckpointError, match="belongs to another run"):
        train(
            MODEL,
            MODEL.init(seed=0),
            source(),
            steps=4,
            checkpoint=tmp_path / "c",
            resume=True,
        )


def test_the_best_evaluation_stops_a_run_of_own_gradients():
    class Last:
        steps_per_epoch = 4

        def batch(self, step):
            batch = source().batch(step)
            return batch._replace(targets=batch.targets[-1:])

    run = train(
        None,
        start(),
        source(),
        steps=400,
        lr=0.0,  # nothing improves
        gradients=head,
        predict=read_out,
        validation=Last(),
        evaluate_every=20,
        patience=2,
        metrics={"right": "accuracy"},
    )
    assert (run.step, run.stop_reason) == (60, "no better evaluation since step 20")
    assert 0 < run.evaluation_metrics["right"] < 1
    assert run.metrics == {}


def test_a_batch_in_which_nothing_counts_is_left_out_of_the_loss():
    def sometimes(params, batch, state):
        nothing = {name: np.zeros_like(p) for name, p in params.items()}
        state = 0 if state is None else state + 1
        return (float("nan"), nothing, state) if state % 2 else (2.0, nothing, state)

    assert train(None, start(), Carried(), steps=10, gradients=sometimes).loss == 2.0


@pytest.mark.parametrize(
    ("change", "kind", "word"),
    [
        (lambda v, g, s: None, TypeError, r"gradients: expected it to return \(loss, grads, state"),
        (lambda v, g, s: (v, g), TypeError, r"gradients: expected it to return \(loss, grads, sta"),
        (lambda v, g, s: (v, {}, s), ValueError, "what it returned has grads: expected the names"),
        (lambda v, g, s: (v, g | {"more": v}, s), ValueError, "got 'more' too"),
        (lambda v, g, s: (v, g | {"head": g["head"].T}, s), ValueError, r"grads\['head'\]"),
        (lambda v, g, s: (np.ones(2, np.float32), g, s), ValueError, "value returned by the loss"),
        (lambda v, g, s: ("2", g, s), TypeError, "value returned by the loss"),
        (lambda v, g, s: (float("nan"), g, s), FloatingPointError, "loss: expected a finite"),
    ],
)
def test_what_own_gradients_return_is_checked(change, kind, word):
    def wrong(params, batch, state):
        return change(*head(params, batch, state))

    with pytest.raises(kind, match=word):
        train(None, start(), source(), steps=10, gradients=wrong)


@pytest.mark.parametrize(
    ("options", "kind", "word"),
    [
        ({"gradients": lambda params, batch: 1}, TypeError, "gradients: expected a callable"),
        ({"gradients": 3}, TypeError, "gradients: expected a callable"),
        ({"predict": read_out}, ValueError, "predict: expected gradients"),
        ({"gradients": head, "validation": source()}, ValueError, "predict: expected one for val"),
        ({"gradients": head, "metrics": ["accuracy"]}, ValueError, "metrics: with gradients"),
        ({"gradients": head, "loss": "mse"}, ValueError, "loss: with gradients"),
        ({}, TypeError, "model: expected an RNN, got NoneType"),
        ({"gradients": head, "epochs": 2}, TypeError, "epochs: expected none with steps, got 2"),
        ({"gradients": head, "steps": None}, TypeError, "steps: expected steps or epochs, got nei"),
    ],
)
def test_options_that_do_not_go_together_are_named(options, kind, word):
    with pytest.raises(kind, match=word):
        train(None, start(), source(), **{"steps": 4} | options)


def test_outputs_of_ones_own_are_weighed_by_weights_or_targets():
    """A batch with lengths must say by weights which steps count."""
    x, targets = parity(count=8)

    class Held:
        steps_per_epoch = 2

        def __init__(self, **more):
            self.more = more

        def batch(self, step):
            columns = slice(0, 6) if step == 0 else slice(6, 8)
            return Batch(x[:, columns], targets[:, columns], **self.more)

    params = MODEL.init(seed=0)
    predict = outputs_of(MODEL)
    halves = [
        evaluate(None, params, type("One", (Held,), {"steps_per_epoch": 1})(), predict=predict),
        float(
            prnn.losses.softmax_cross_entropy(
                prnn.predict(MODEL, params, x[:, 6:]), targets[:, 6:]
            )[0]
        ),
    ]
    found = evaluate(None, params, Held(), predict=predict)
    assert found == pytest.approx(0.75 * halves[0] + 0.25 * halves[1])
    weighted = Held(weights=np.ones((6, 6), np.float32))
    with pytest.raises(TypeError, match=r"^loss: expected it to take weights"):
        evaluate(None, params, weighted, predict=predict, loss=lambda o, y: (0.0, o))
    with pytest.raises(ValueError, match=r"batches.batch\(0\).weights: expected those of the step"):
        evaluate(None, params, Held(lengths=[6] * 6), predict=predict)


def test_a_run_shows_its_batch_and_its_time():
    class Watch(Callback):
        seen = ()

        def on_step(self, run):
            self.seen += ((run.batch.x.tobytes(), run.seconds),)

    watch = Watch()
    train(MODEL, MODEL.init(seed=0), source(), steps=3, callbacks=[watch])
    assert [one for one, _ in watch.seen] == [source().batch(i).x.tobytes() for i in range(3)]
    times = [seconds for _, seconds in watch.seen]
    assert 0 < times[0] < times[1] < times[2] < 600


def test_epochs_are_steps_over_all_batches():
    run = train(MODEL, MODEL.init(seed=0), source(), epochs=3)
    assert run.step == 3 * source().steps_per_epoch
