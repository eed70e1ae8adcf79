"""Optimizers: pure, checked, and each the rule its paper states.

Agreement with ``torch.optim`` is in the conformance suite.
"""

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.optimizers import adam, adamw, clip_by_global_norm, rmsprop, sgd

ALL = {
    "sgd": lambda *a: sgd(*a, lr=0.05),
    "momentum": lambda *a: sgd(*a, lr=0.05, momentum=0.9),
    "nesterov": lambda *a: sgd(*a, lr=0.05, momentum=0.9, nesterov=True),
    "rmsprop": lambda *a: rmsprop(*a, lr=0.01),
    "adam": lambda *a: adam(*a, lr=0.1),
    "adamw": lambda *a: adamw(*a, lr=0.1, weight_decay=1e-4),
}


def arrays(seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(3).astype(dtype) for name in ("a", "b")}


@pytest.mark.parametrize("optimizer", ALL.values(), ids=ALL)
def test_minimises_a_bowl(optimizer):
    params, state = arrays(), None
    for _ in range(400):
        params, state = optimizer(params, {k: 2 * p for k, p in params.items()}, state)
    assert max(np.abs(p).max() for p in params.values()) < 0.05
    assert state["step"] == 400


@pytest.mark.parametrize("optimizer", ALL.values(), ids=ALL)
def test_writes_to_nothing_it_was_given(optimizer):
    params, grads = arrays(0), arrays(1)
    _, state = optimizer(params, grads, None)
    held = [*params.values(), *grads.values()]
    held += [a for slot, d in state.items() if slot != "step" for a in d.values()]
    before = [a.copy() for a in held]
    for array in held:
        array.flags.writeable = False
    optimizer(params, grads, state)
    for array, copy in zip(held, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("optimizer", ALL.values(), ids=ALL)
def test_keeps_float32(optimizer):
    params, grads = arrays(0, np.float32), arrays(1, np.float32)
    params, state = optimizer(params, grads, None)
    params, state = optimizer(params, grads, state)
    held = [d for slot, d in state.items() if slot != "step"] + [params]
    assert {a.dtype for d in held for a in d.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p, g, x: sgd(p, g, lr=x, momentum=x, weight_decay=x),
        lambda p, g, x: rmsprop(p, g, lr=x, alpha=x, eps=x),
        lambda p, g, x: adamw(p, g, lr=x, betas=(x, x), eps=x, weight_decay=x),
    ],
)
def test_numpy_options_do_not_widen(optimizer):
    params, state = optimizer(arrays(0, np.float32), arrays(1, np.float32), np.float64(0.1))
    held = [d for slot, d in state.items() if slot != "step"] + [params]
    assert {a.dtype for d in held for a in d.values()} == {np.dtype(np.float32)}


def test_an_eps_that_the_step_cannot_hold_is_refused():
    single = arrays(0, np.float32)
    for optimizer, least in ((adam, "3.7e-37"), (rmsprop, "1.2e-38")):
        with pytest.raises(ValueError, match=rf"eps: expected at least {least} for float32"):
            optimizer(single, single, eps=1e-38)


@pytest.mark.parametrize("optimizer", [adam, adamw, rmsprop])
def test_zero_gradients_are_divided_by_eps_in_any_dtype(optimizer):
    """1e-8, the default, is 0 in float16: the step is one of float32."""
    for dtype in (np.float16, np.float32):
        params = arrays(0, dtype)
        state = None
        for _ in range(2):
            moved, state = optimizer(params, {name: 0 * p for name, p in params.items()}, state)
            assert all(np.isfinite(p).all() for p in moved.values())
            assert all(np.isfinite(a).all() for a in state["root_mean_square"].values())


def test_first_adam_step_is_the_learning_rate():
    params, _ = adam({"a": np.zeros(2)}, {"a": np.asarray([1e-3, -50.0])}, lr=0.1)
    np.testing.assert_allclose(params["a"], [-0.1, 0.1], rtol=1e-4)


def test_clip_scales_all_by_one_factor():
    grads = {"a": np.asarray([3.0]), "b": np.asarray([0.0, 4.0])}
    clipped, norm = clip_by_global_norm(grads, 2.5)
    assert float(norm) == 5.0
    np.testing.assert_allclose(clipped["a"], [1.5])
    np.testing.assert_allclose(clipped["b"], [0.0, 2.0])


def test_clip_leaves_small_gradients_alone():
    grads = arrays()
    clipped, _ = clip_by_global_norm(grads, 1e3)
    for name, g in grads.items():
        np.testing.assert_array_equal(clipped[name], g)


@pytest.mark.parametrize("size", [1e30, 1e-30, 0.0])
def test_clip_neither_overflows_nor_divides_by_zero(size):
    grads = {"a": np.full(4, size, dtype=np.float32)}
    clipped, norm = clip_by_global_norm(grads, 1.0)
    np.testing.assert_allclose(float(norm), 2 * size, rtol=1e-6)
    np.testing.assert_allclose(clipped["a"], min(size, 0.5), rtol=1e-6)


def test_clip_takes_its_unit_from_the_largest_of_all():
    grads = {"a": np.full(4, 1e30, np.float32), "b": np.full(4, 1e-30, np.float32)}
    for named in (grads, dict(reversed(grads.items()))):
        clipped, norm = clip_by_global_norm(named, 1.0)
        np.testing.assert_allclose(float(norm), 2e30, rtol=1e-6)
        np.testing.assert_allclose(clipped["a"], 0.5, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p, g: sgd(p, g, lr=-1.0), ("lr", "at least 0", "-1.0")),
        (lambda p, g: sgd(p, g, lr=float("nan")), ("lr", "nan")),
        (lambda p, g: sgd(p, g, lr=0.1, momentum=1.0), ("momentum", "[0, 1)", "1.0")),
        (lambda p, g: sgd(p, g, lr=0.1, nesterov=True), ("nesterov", "momentum above 0")),
        (lambda p, g: rmsprop(p, g, alpha=2.0), ("alpha", "2.0")),
        (lambda p, g: adam(p, g, betas=(0.9, 1.0)), ("betas", "1.0")),
        (lambda p, g: adam(p, g, eps=-1.0), ("eps", "above 0", "-1.0")),
        (lambda p, g: adamw(p, g, weight_decay=-1), ("weight_decay", "-1")),
        (
            lambda p, g: adam(p, g, {"step": 1, "mean": {}, "root_mean_square": {}}),
            ("state['mean']",),
        ),
        (lambda p, g: adam(p, g, 3), ("state", "got int")),
        (lambda p, g: adam(p, {"a": g["a"]}), ("grads", "a, b", "got a")),
        (lambda p, g: adam(p, g | {"a": np.zeros(4)}), ("grads['a']", "(3,)", "(4,)")),
        (lambda p, g: adam(p, g, sgd(p, g, lr=1.0)[1]), ("state", "mean_square", "got step")),
        (lambda p, g: clip_by_global_norm(g, 0.0), ("max_norm", "above 0", "0.0")),
        (lambda p, g: clip_by_global_norm({"a": np.zeros(0)}, 1.0), ("grads", "none in a")),
        (lambda p, g: clip_by_global_norm({}, 1.0), ("grads", "got none")),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the words are checked below)
        call(arrays(0), arrays(1))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("optimizer", ALL.values(), ids=ALL)
def test_gradients_of_another_dtype_are_refused(optimizer):
    with pytest.raises(TypeError, match=r"grads\['a'\]: expected dtype float32 .* got float64"):
        optimizer(arrays(0, np.float32), arrays(1), None)


def test_a_whole_result_in_the_place_of_its_gradients_is_named():
    model = prnn.RNN(3, 4, 2)
    params = model.init(seed=0, dtype="float64")
    result = prnn.bptt(model, params, np.ones((5, 2, 3)), np.zeros((5, 2), dtype=int))
    message = r"^grads: expected a dict of arrays, got Result; give its \.grads$"
    with pytest.raises(TypeError, match=message):
        adam(params, result)
    with pytest.raises(TypeError, match=message):
        clip_by_global_norm(result, 1.0)
    with pytest.raises(TypeError, match=r"^params: expected a dict of arrays, got list$"):
        adam(list(params.values()), result.grads)


@pytest.mark.parametrize("optimizer", [adam, adamw])
@pytest.mark.parametrize("betas", [(0.0, 0.999), (0.9, 0.0), (0.0, 0.0)])
def test_a_step_that_is_an_array_counts_like_one_that_is_a_number(optimizer, betas):
    """As under jax.jit, where logarithms of the betas are taken; 0 has none."""
    found = []
    for first in (0, np.asarray(0)):
        params, state = arrays(), None
        for number in range(3):
            grads = arrays(number + 1)
            if state is not None:
                state = state | {"step": state["step"] + first}
            params, state = optimizer(params, grads, state, lr=0.1, betas=betas)
        found.append(params)
    for name, array in found[0].items():
        np.testing.assert_allclose(found[1][name], array, rtol=1e-12, atol=1e-15)
