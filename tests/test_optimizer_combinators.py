"""Optimizers made of others: checked, pure, picklable, and described by a checkpoint.

Their steps are compared with plain optimizers in the conformance suite.
"""

import copy
import functools
import pickle

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.optimizers import (
    accumulate,
    adam,
    adamw,
    averaged_params,
    by_name,
    clip_norm,
    ema,
    mixed_precision,
    rmsprop,
    scale_lr,
    scaled_loss,
    sgd,
)
from portable_rnn.serialization import CheckpointError
from portable_rnn.training import train

from .runs import MODEL, Stop, same, source

SCALED = mixed_precision(sgd, loss_scale=2.0)
DYNAMIC = mixed_precision(accumulate(adam, 2), loss_scale=2.0, growth_interval=3)
NESTED = ema(
    by_name(
        {
            "*bias*": scale_lr(accumulate(functools.partial(sgd, momentum=0.5), 3), 2.0),
            "weight_ih_l0": None,
            "*": clip_norm(functools.partial(adamw, weight_decay=0.1), 0.5),
        }
    ),
    0.9,
)
ALL = {
    "by_name": by_name({"a": adam, "*": sgd}),
    "frozen": by_name({"a": None, "*": sgd}),
    "ema": ema(adam, 0.9),
    "debias": ema(sgd, 0.9, debias=True),
    "accumulate": accumulate(adam, 2),
    "scale_lr": scale_lr(adam, 0.5),
    "clip_norm": clip_norm(sgd, 1.0),
    "mixed": mixed_precision(adam),
    "scaled": SCALED,
    "dynamic": DYNAMIC,
}


def arrays(seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(3).astype(dtype) for name in ("a", "b")}


def leaves(tree):
    if isinstance(tree, dict):
        return [leaf for value in tree.values() for leaf in leaves(value)]
    return [tree]


@pytest.mark.parametrize("name", ALL)
def test_nothing_that_is_given_is_written_to(name):
    optimizer, params, state = ALL[name], arrays(), None
    for number in range(4):
        grads = arrays(number + 1)
        given = copy.deepcopy((params, grads, state))
        for array in (*params.values(), *grads.values(), *leaves(state)):
            if isinstance(array, np.ndarray):
                array.flags.writeable = False
        updated, after = optimizer(params, grads, state, lr=0.1)
        for one, other in zip(leaves(given[2]), leaves(state), strict=True):
            np.testing.assert_array_equal(one, other)
        assert list(updated) == list(params)
        params, state = updated, after


@pytest.mark.parametrize("name", ALL)
def test_an_optimizer_made_of_others_can_be_pickled_and_compared(name):
    optimizer = ALL[name]
    again = pickle.loads(pickle.dumps(optimizer))
    assert again == optimizer
    assert hash(again) == hash(optimizer)
    assert again != ema(rmsprop, 0.5)
    found, wanted = (one(arrays(), arrays(1), None, lr=0.1)[0] for one in (again, optimizer))
    assert same(found, wanted)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ema(3), r"^optimizer: expected a callable \(params, grads, state, lr=\.\.\.\)"),
        (lambda: ema(functools.partial(sgd, lr=0.1)), r"^optimizer: lr=0\.1 is fixed in it"),
        (lambda: ema(adam, 1.0), r"^decay: expected a number in \[0, 1\), got 1\.0"),
        (lambda: ema(adam, 0.5, debias=1), "^debias: expected True or False"),
        (lambda: accumulate(adam, 0), "^every: expected at least 1, got 0"),
        (lambda: accumulate(adam, 2.0), r"^every: expected an int, got 2\.0"),
        (lambda: scale_lr(adam, -1.0), "^factor: expected a number of at least 0"),
        (lambda: clip_norm(adam, 0.0), "^max_norm: expected a number above 0"),
        (lambda: mixed_precision(adam, loss_scale=0.0), r"^loss_scale: expected a number in \[5"),
        (lambda: mixed_precision(adam, growth_interval=0), "^growth_interval: expected at least 1"),
        (lambda: by_name({}), "^optimizers: expected at least one pattern, got none"),
        (lambda: by_name([adam]), r"^optimizers: expected a dict of patterns and optimizers"),
        (lambda: by_name({1: adam}), "^optimizers: pattern 1: expected a text, got 1"),
        (lambda: by_name({"a*": 3}), r"^optimizers\['a\*'\]: expected a callable"),
        (
            lambda: by_name({"*": SCALED}),
            r"^optimizers\['\*'\]: .* a loss scale; use mixed",
        ),
        (lambda: clip_norm(ema(SCALED), 1.0), r"^optimizer: .*; use mixed_precision\(clip_norm"),
        (lambda: accumulate(DYNAMIC, 2), r"^optimizer: .*; use mixed_precision\(accumulate"),
        (
            lambda: mixed_precision(scale_lr(SCALED, 2.0)),
            r"^optimizer: .* a loss scale; one",
        ),
    ],
)
def test_a_wrong_argument_is_named(make, words):
    with pytest.raises((TypeError, ValueError), match=words):
        make()


def test_parameters_without_a_pattern_and_patterns_without_a_parameter_are_named():
    with pytest.raises(ValueError, match=r"^optimizers: expected a pattern .*, got none for a, b;"):
        by_name({"c*": adam})(arrays(), arrays(), lr=0.1)
    for patterns in ({"[ab]": adam, "a": sgd, "A": sgd}, {"*": None, "A": sgd, "a": sgd}):
        with pytest.raises(ValueError, match=r"^optimizers: .*, got '[aA]', '[aA]' for the names"):
            by_name(patterns)(arrays(), arrays(), lr=0.1)


@pytest.mark.parametrize("name", ALL)
def test_a_state_of_another_optimizer_is_refused(name):
    params, grads = arrays(), arrays(1)
    for state in (rmsprop(params, grads)[1], {"a": {}}, 3, {}):
        with pytest.raises(ValueError, match=r"^state: expected the entries .*None begins anew$"):
            ALL[name](params, grads, state, lr=0.1)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("ema", {"average": {}}, r"^state\['average'\]: expected the names a, b, got none"),
        ("ema", {"average": arrays(0, np.float64)}, r"^state\['average'\]\['a'\]: expected dtype"),
        ("ema", {"step": -1}, r"^state\['step'\]: expected at least 0"),
        ("accumulate", {"mean": 3}, r"^state\['mean'\]: expected a dict of arrays, got int"),
        ("accumulate", {"step": 1.5}, r"^state\['step'\]: expected an int"),
        ("mixed", {"master": {"a": 1}}, r"^state\['master'\]: expected the names a, b, got a"),
        (
            "dynamic",
            {"scale": 2.0},
            r"^state\['scale'\]: expected an array of shape \(\) and dtype",
        ),
        ("dynamic", {"since": np.zeros(2)}, r"^state\['since'\]: expected an array of shape \(\)"),
    ],
)
def test_a_part_of_a_state_that_does_not_fit_is_named(name, change, words):
    params, grads = arrays(), arrays(1)
    _, state = ALL[name](params, grads, None, lr=0.1)
    with pytest.raises((TypeError, ValueError), match=words):
        ALL[name](params, grads, state | change, lr=0.1)


@pytest.mark.parametrize("name", ALL)
def test_wrong_arrays_and_rates_are_refused_before_any_step(name):
    params = arrays()
    for grads, lr, words in (
        (arrays(1, np.float64), 0.1, r"^grads\['a'\]: expected dtype float32"),
        ({"a": params["a"]}, 0.1, "^grads: expected the names a, b, got a"),
        (arrays(1), -0.1, "^lr: expected a number of at least 0"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            ALL[name](params, grads, None, lr=lr)


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (lambda p: None, r"^optimizer: expected it to return \(params, state\), got NoneType"),
        (lambda p: (None, {}), "^optimizer: expected it to return a dict of parameters, got None"),
        (lambda p: ({}, {}), "^optimizer: expected it to return the names a, b, got none"),
        (lambda p: ({n: a[:1] for n, a in p.items()}, {}), r"^optimizer: .*expected shape \(3,\)"),
    ],
)
@pytest.mark.parametrize("wrapped", [ema, mixed_precision, lambda o: accumulate(o, 1)])
def test_an_optimizer_that_returns_something_else_is_named(wrapped, returned, words):
    def optimizer(params, grads, state, *, lr):
        return returned(params)

    with pytest.raises((TypeError, ValueError), match=words):
        wrapped(optimizer)(arrays(), arrays(1), None, lr=0.1)


def test_a_state_whose_structure_changes_cannot_be_chosen_by_an_array():
    def growing(params, grads, state, *, lr):
        return params, {"all": [*([] if state is None else state["all"]), 1]}

    optimizer, params = mixed_precision(growing, growth_interval=5), arrays()
    _, state = optimizer(params, params, None, lr=0.1)
    with pytest.raises(TypeError, match=r"^optimizer: expected a state whose structure, shapes"):
        optimizer(params, params, state, lr=0.1)


def test_a_skipped_step_changes_nothing_but_the_scale():
    params, state = arrays(), None
    for number in range(2):
        params, state = DYNAMIC(params, arrays(number), state, lr=0.1)
    bad = arrays(3) | {"b": np.asarray([1.0, np.inf, 2.0], np.float32)}
    moved, after = DYNAMIC(params, bad, state, lr=0.1)
    assert same(moved, params)
    assert float(after["scale"]) == 0.5 * float(state["scale"])
    assert int(after["step"]) == int(state["step"]) == 2
    for one, other in zip(leaves(after["inner"]), leaves(state["inner"]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_steps_that_are_skipped_forever_do_not_make_the_scale_zero():
    optimizer, params, state = mixed_precision(sgd, growth_interval=1000), arrays(), None
    bad = {name: np.full_like(g, np.nan) for name, g in arrays(1).items()}
    for _ in range(160):  # as often as halves a float32 of 1 to 0
        params, state = optimizer(params, bad, state, lr=0.1)
    assert float(state["scale"]) == 2.0**-24
    params, _ = optimizer(params, arrays(1), state, lr=1e-9)
    assert all(np.isfinite(p).all() for p in params.values())


# ------------------------------------------------------------------------ the loss scale


def gradients(loss, dtype="float16"):
    model = prnn.RNN(2, 3, 4)
    x = np.random.default_rng(0).normal(size=(6, 2, 2)).astype(dtype)
    weights = np.linspace(1e-3, 1.0, 12, dtype=dtype).reshape(6, 2)
    labels = np.arange(12).reshape(6, 2) % 4
    params = model.init(seed=0, dtype=dtype)
    return prnn.bptt(model, params, x, labels, weights=weights, loss=loss)


def test_a_scaled_loss_keeps_gradients_that_half_precision_would_lose():
    def tiny(outputs, targets, *, weights):
        value, gradient = prnn.losses.softmax_cross_entropy(outputs, targets, weights=weights)
        return value, gradient * 2.0**-20

    optimizer = mixed_precision(sgd, loss_scale=2.0**20)
    scaled = gradients(scaled_loss(tiny, optimizer, None))
    wanted = gradients(prnn.losses.softmax_cross_entropy, "float64")
    lost = gradients(tiny)
    for name, g in scaled.grads.items():
        assert g.dtype == np.float16
        np.testing.assert_allclose(g, wanted.grads[name], rtol=0.02, atol=2e-4)
        assert np.max(np.abs(lost.grads[name])) < 2e-6
    assert scaled.loss.dtype == np.float32  # not scaled
    np.testing.assert_allclose(scaled.loss, wanted.loss, rtol=2e-3)


def test_the_scale_of_a_loss_is_that_of_the_next_step():
    loss = prnn.losses.mean_squared_error
    outputs = np.ones((2, 1, 1), np.float32)
    params, wrapped = arrays(), ema(scale_lr(DYNAMIC, 0.5), 0.5)
    _, state = wrapped(params, {n: g * np.inf for n, g in arrays(1).items()}, None, lr=0.1)
    for optimizer, held, scale in (
        (sgd, None, 1.0),
        (mixed_precision(sgd), None, 1.0),
        (SCALED, None, 2.0),
        (functools.partial(wrapped), None, 2.0),
        (wrapped, state, 1.0),
    ):
        value, gradient = scaled_loss(loss, optimizer, held)(outputs, 0.0 * outputs)
        np.testing.assert_array_equal(gradient, scale * loss(outputs, 0.0 * outputs)[1])
        assert float(value) == 1.0
    assert scaled_loss(loss, sgd, None) is loss
    with pytest.raises(ValueError, match=r"^state: expected a state of this optimizer, or None"):
        scaled_loss(loss, wrapped, {"step": 1})
    with pytest.raises(TypeError, match=r"^loss: expected a callable, got 3"):
        scaled_loss(3, sgd, None)


@pytest.mark.parametrize(
    "scale", [{"loss_scale": 64.0}, {"loss_scale": 64.0, "growth_interval": 9}]
)
def test_training_multiplies_the_loss_by_the_scale_of_its_optimizer(scale):
    """Numbers of float32 are scaled by a power of two without rounding: the steps are the same."""
    found = [
        train(MODEL, MODEL.init(seed=0), source(), steps=4, lr=0.1, optimizer=optimizer)
        for optimizer in (mixed_precision(sgd, **scale), sgd)
    ]
    for name, p in found[1].params.items():
        np.testing.assert_allclose(found[0].params[name], p, rtol=1e-6, atol=1e-7)
    assert found[0].loss == pytest.approx(found[1].loss)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_norm": 1.0}, "clip inside it"),
        ({"gradients": lambda params, batch, state: (0.0, params, None)}, "gradients="),
    ],
)
def test_training_without_a_loss_that_it_can_scale_is_refused(options, words):
    given = {"steps": 1, "optimizer": ema(SCALED)} | options
    with pytest.raises(ValueError, match=rf"^optimizer: .* without a loss scale; {words}"):
        train(MODEL, MODEL.init(seed=0), source(), **given)


# -------------------------------------------------------------------------- checkpoints


@pytest.mark.parametrize("optimizer", [NESTED, DYNAMIC], ids=["nested", "dynamic"])
def test_a_resumed_run_of_nested_optimizers_has_the_same_bits(tmp_path, optimizer):
    go = functools.partial(
        train, MODEL, MODEL.init(seed=0), source(), steps=9, optimizer=optimizer, resume=True
    )
    whole = go(checkpoint=tmp_path / "whole")
    for step in (1, 2, 4, 8):
        go(checkpoint=tmp_path / "parts", callbacks=[Stop(step)])
    parts = go(checkpoint=tmp_path / "parts")
    assert same(parts.params, whole.params)
    for one, other in zip(
        leaves(parts.optimizer_state), leaves(whole.optimizer_state), strict=True
    ):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
    first = MODEL.init(seed=0)
    assert not same(whole.params, first)
    if optimizer is NESTED:
        assert same({"": whole.params["weight_ih_l0"]}, {"": first["weight_ih_l0"]})
        assert not same(averaged_params(whole.params, whole.optimizer_state), whole.params)


def nested(beta=0.5, every=3, decay=0.9, reverse=False, last=adam):
    patterns = {"*bias*": accumulate(functools.partial(adam, betas=(beta, 0.9)), every), "w*": last}
    patterns = dict(reversed(patterns.items())) if reverse else patterns
    return ema(by_name(patterns | {"*": rmsprop}), decay)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"beta": 0.25}, "'0.25'"),
        ({"every": 2}, "'every': '3'"),
        ({"decay": 0.5}, "decay 0.9 where 0.5 is asked for"),
        ({"reverse": True}, "optimizer {'name': 'ByName'"),
        ({"last": None}, "'None'"),
        ({"last": scale_lr(adam, 0.5)}, "'ScaleLr'"),
    ],
)
def test_a_run_of_other_inner_optimizers_or_options_is_refused(tmp_path, change, words):
    def go(steps, **changed):
        given = {"checkpoint": tmp_path / "c", "resume": True, "optimizer": nested(**changed)}
        return train(MODEL, MODEL.init(seed=0), source(), steps=steps, **given)

    go(1)
    with pytest.raises(CheckpointError, match="belongs to another run; optimizer: ") as caught:
        go(2, **change)
    assert words in str(caught.value)
    assert go(2).step == 2
