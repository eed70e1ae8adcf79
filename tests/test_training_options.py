"""Options of `train`: wrong ones are refused by name before the first step."""

import functools

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.training import train

from .runs import MODEL, source


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
            {"optimizer": "adm"},
            ValueError,
            "'adam', 'adamw', 'lion', 'rmsprop' or 'sgd', got 'adm'; did you mean adam?",
        ),
        ({"validation": 3}, TypeError, "validation: expected a source such as Shuffled"),
        ({"lr": -0.1}, ValueError, "lr: expected a number of at least 0, got -0.1"),
    ],
)
def test_bad_options_are_named(options, kind, word):
    with pytest.raises(kind) as caught:
        train(MODEL, MODEL.init(seed=0), source(), **{"steps": 3} | options)
    assert word in str(caught.value)


@pytest.mark.parametrize("lr", [-1.0, float("nan"), float("inf"), "0.1", True, [0.1]])
def test_a_wrong_learning_rate_is_refused(lr):
    for given in (lr, lambda step: lr):
        with pytest.raises((TypeError, ValueError), match=r"^lr: expected a number of at least 0"):
            train(MODEL, MODEL.init(seed=0), source(), steps=3, lr=given)


class Half:
    """An object with only one method of a callback."""

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
def test_a_wrong_callback_is_refused_before_the_first_step(callbacks, message):
    with pytest.raises(TypeError, match=f"^{message}"):
        train(MODEL, MODEL.init(seed=0), source(), steps=3, callbacks=callbacks)


@pytest.mark.parametrize(
    "name", ["loss", "step", "gradient_norm", "learning_rate", "validation_loss"]
)
def test_a_metric_with_the_name_of_another_number_is_refused(name):
    for call in (functools.partial(train, steps=1), prnn.training.evaluate):
        with pytest.raises(ValueError, match=f"^metrics: expected names other .*got '{name}'"):
            call(MODEL, MODEL.init(seed=0), source(), metrics={name: prnn.metrics.Accuracy()})


def test_a_wrong_result_of_an_optimizer_is_refused():
    for returned, message in (
        (None, r"optimizer: expected it to return \(params, state\), got NoneType"),
        (({}, {}, {}), r"optimizer: expected it to return \(params, state\), got tuple"),
        ((None, {}), "optimizer: expected it to return a dict of parameters, got NoneType"),
        (({}, {}), "optimizer: expected it to return the names weight_ih_l0, .*got none"),
        (
            ({name: p.astype(np.float64) for name, p in MODEL.init(seed=0).items()}, {}),
            r"optimizer: what it returned as params\['weight_ih_l0'\]: expected dtype float32",
        ),
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
        ({"loss": dict}, "loss: expected a callable, got the class dict"),
        ({"optimizer": dict}, r"optimizer: expected a callable \(.*\), got the class dict"),
        (
            {"optimizer": Exception},
            r"optimizer: expected a callable \(.*\), got the class Exception",
        ),
        ({"lr": dict}, r"lr: expected a callable \(step\), got the class dict"),
        ({"gradients": dict}, r"gradients: expected a callable \(.*\), got the class dict"),
    ],
)
def test_a_function_of_another_form_is_refused_before_the_first_step(options, message):
    seen = []
    watch = type("Watch", (prnn.training.Callback,), {"on_step": lambda self, run: seen.append(1)})
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        train(*(MODEL, MODEL.init(seed=0), source()), steps=3, callbacks=[watch()], **options)
    assert not seen
