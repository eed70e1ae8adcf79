"""Optimizers compared with optax in float32, and transformations of optax as optimizers."""

import functools

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn import optimizers
from portable_rnn.batches import Shuffled
from portable_rnn.optimizers import (
    accumulate,
    adam,
    adamw,
    by_name,
    from_optax,
    mixed_precision,
    scale_lr,
    sgd,
)
from portable_rnn.serialization import CheckpointError
from portable_rnn.training import train

from .optimizers import ALL_CASES, RULES
from .tolerances import assert_close

pytestmark = pytest.mark.oracle("jax", "optax")


def trajectory(optimizer, steps=6, *, lr, dtype="float32", jit=False):
    """Return the parameters after some steps of the same gradients."""
    import jax

    rng, xp = np.random.default_rng(0), jax.numpy
    params = {name: xp.asarray(rng.standard_normal((3, 4)), dtype=dtype) for name in ("a", "b")}
    step, state = functools.partial(optimizer, lr=lr), None
    step = jax.jit(step) if jit else step
    for _ in range(steps):
        drawn = {name: rng.standard_normal((3, 4)) for name in params}
        grads = {name: xp.asarray(g, dtype=dtype) for name, g in drawn.items()}
        params, state = step(params, grads, state)
    return {name: np.asarray(p) for name, p in params.items()}, state


def same(found, wanted, what, *, k=64.0):
    for name, p in found.items():
        assert_close(p, wanted[name].astype("float64"), f"{name} of {what}", k=k)


@pytest.mark.parametrize(
    "case", [case for case, (name, _) in ALL_CASES.items() if RULES[name].optax]
)
def test_steps_of_a_rule_equal_optax(case):
    """For rules that torch does not have."""
    import optax

    name, options = ALL_CASES[case]
    options = {"weight_decay": 0.0, "betas": (0.9, 0.99)} | options
    lr, (b1, b2) = options.pop("lr"), options["betas"]
    theirs = getattr(optax, RULES[name].optax)(
        1.0, b1=b1, b2=b2, weight_decay=options["weight_decay"]
    )
    ours = functools.partial(getattr(optimizers, name), **options)
    found, _ = trajectory(ours, lr=lr)
    same(found, trajectory(from_optax(theirs), lr=lr)[0], case)


@pytest.mark.parametrize("jit", [False, True])
def test_a_transformation_takes_the_steps_of_the_same_rule(jit):
    import optax

    found, state = trajectory(from_optax(optax.adamw(1.0, weight_decay=0.5)), lr=0.1, jit=jit)
    same(found, trajectory(functools.partial(adamw, weight_decay=0.5), lr=0.1)[0], "adamw")
    assert set(state) == {"leaves"}
    assert len(state["leaves"]) == 5  # a count, and two moments of two parameters
    halves, _ = trajectory(mixed_precision(from_optax(optax.sgd(1.0))), lr=0.1, dtype="float16")
    assert {p.dtype.name for p in halves.values()} == {"float16"}
    same(halves, trajectory(mixed_precision(sgd), lr=0.1, dtype="float16")[0], "half", k=1.0)


def test_accumulated_steps_equal_those_of_optax():
    import optax

    theirs = optax.MultiSteps(optax.adam(1.0), every_k_schedule=3).gradient_transformation()
    found, _ = trajectory(accumulate(adam, 3), steps=7, lr=0.1, jit=True)
    same(found, trajectory(from_optax(theirs), steps=7, lr=0.1, jit=True)[0], "accumulate")


def test_each_step_but_the_first_is_one_compiled_function():
    """A state whose structure or types change would be compiled for again."""
    import jax
    import optax

    made = (
        accumulate(adam, 3),
        mixed_precision(accumulate(adam, 2), growth_interval=2),
        by_name({"a": None, "*": scale_lr(from_optax(optax.adam(1.0)), 0.5)}),
    )
    for optimizer in made:
        step, state = jax.jit(functools.partial(optimizer, lr=0.1)), None
        params = {name: jax.numpy.ones(2, dtype="float32") for name in ("a", "b")}
        for _ in range(6):
            params, state = step(params, params, state)
        assert step._cache_size() <= 2, optimizer


@pytest.mark.when_named
def test_a_resumed_run_of_optax_has_the_same_bits_and_no_other_options(tmp_path):
    import jax
    import optax

    xp = jax.numpy
    model = prnn.RNN(1, 3, 2)
    x = xp.asarray(np.random.default_rng(0).normal(size=(4, 6, 1)), dtype="float32")
    labels = xp.zeros((4, 6), dtype="int32")

    def go(steps, beta=0.5, path="parts"):
        chained = optax.chain(optax.clip(1.0), optax.adam(lambda count: 1.0, b1=beta))
        return train(
            model,
            model.init(seed=0, xp=xp),
            Shuffled(x, labels, batch_size=3),
            steps=steps,
            optimizer=from_optax(chained),
            checkpoint=tmp_path / path,
            resume=True,
        )

    go(1)
    with pytest.raises(CheckpointError, match=r"belongs to another run; optimizer: .*'0\.75'"):
        go(2, beta=0.75)
    parts, whole = go(2), go(2, path="whole")
    for name, p in whole.params.items():
        assert np.asarray(p).tobytes() == np.asarray(parts.params[name]).tobytes()


def test_what_is_no_transformation_or_not_of_it_is_refused():
    import jax.numpy as xp
    import optax

    optimizer, params = from_optax(optax.adam(1.0)), {"w": xp.ones(2)}
    _, state = optimizer(params, params, lr=0.1)
    for bad in ({"leaves": state["leaves"][1:]}, {"leaves": None}, {"leaves": [xp.ones(3)] * 3}):
        with pytest.raises(ValueError, match=r"^state\['leaves'\]: expected arrays of the shapes"):
            optimizer(params, params, bad, lr=0.1)
    with pytest.raises(ValueError, match=r"^state: expected the entries leaves of this optimizer"):
        optimizer(params, params, sgd(params, params, lr=0.1)[1], lr=0.1)
    on_host = {"w": np.ones(2)}
    with pytest.raises(TypeError, match=r"^params: expected arrays of JAX"):
        optimizer(on_host, on_host, lr=0.1)
    for bad in (optax.adam, (1, 2), None, type(optax.adam(1.0))):
        with pytest.raises(TypeError, match=r"^transformation: expected a gradient transformation"):
            from_optax(bad)
