"""Optimizers: pure, checked, and each the rule its paper states.

Agreement with ``torch.optim`` is in the conformance suite.
"""

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.optimizers import (
    adagrad,
    adam,
    adamw,
    clip_by_global_norm,
    lion,
    rmsprop,
    sgd,
)

ALL = {
    "sgd": lambda *a: sgd(*a, lr=0.05),
    "momentum": lambda *a: sgd(*a, lr=0.05, momentum=0.9),
    "nesterov": lambda *a: sgd(*a, lr=0.05, momentum=0.9, nesterov=True),
    "rmsprop": lambda *a: rmsprop(*a, lr=0.01),
    "adam": lambda *a: adam(*a, lr=0.1),
    "adamw": lambda *a: adamw(*a, lr=0.1, weight_decay=1e-4),
    "amsgrad": lambda *a: adam(*a, lr=0.1, amsgrad=True),
    "adagrad": lambda *a: adagrad(*a, lr=0.5),
    "lion": lambda *a: lion(*a, lr=0.01),
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
        lambda p, g, x: adamw(p, g, lr=x, betas=(x, x), eps=x, weight_decay=x, amsgrad=True),
        lambda p, g, x: adagrad(p, g, lr=x, eps=x, weight_decay=x),
        lambda p, g, x: lion(p, g, lr=x, betas=(x, x), weight_decay=x),
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


@pytest.mark.parametrize("optimizer", [adam, adamw, rmsprop, adagrad, lion])
def test_zero_gradients_are_divided_by_eps_in_any_dtype(optimizer):
    """1e-8, the default, is 0 in float16: the step is computed in float32."""
    for dtype in (np.float16, np.float32):
        params = arrays(0, dtype)
        state = None
        for _ in range(2):
            moved, state = optimizer(params, {name: 0 * p for name, p in params.items()}, state)
            assert all(np.isfinite(p).all() for p in moved.values())
            slots = [arrays for slot, arrays in state.items() if slot != "step"]
            assert all(np.isfinite(a).all() for of in slots for a in of.values())


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


def test_clip_takes_its_scale_from_the_largest_of_all():
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
    """As under jax.jit, where logarithms of the betas are used; 0 has none."""
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


@pytest.mark.parametrize("size", [1e-305, 1e-290, 1e-200, 1e200, 1e300, 1.7e308])
@pytest.mark.parametrize("optimizer", [adam, rmsprop])
def test_squares_beyond_the_range_of_float64_give_the_right_step(optimizer, size):
    """Compared with the rules in 50 digits, with any exponent."""
    import mpmath

    grads = [size, -size / 2, size / 4]
    params, state = {"a": np.zeros(1)}, None
    eps = mpmath.mpf(1e-8)
    with mpmath.workdps(50):
        p = mean = square = mpmath.mpf(0)
        b1, b2, alpha = (mpmath.mpf(b) for b in (0.9, 0.999, 0.99))
        for step, g in enumerate(grads, start=1):
            params, state = optimizer(params, {"a": np.asarray([g])}, state, lr=0.01)
            g = mpmath.mpf(float(g))
            if optimizer is adam:
                mean, square = b1 * mean + (1 - b1) * g, b2 * square + (1 - b2) * g**2
                root = mpmath.sqrt(square / (1 - b2**step))
                p -= mpmath.mpf(0.01) * mean / (1 - b1**step) / (root + eps)
            else:
                square = alpha * square + (1 - alpha) * g**2
                p -= mpmath.mpf(0.01) * g / (mpmath.sqrt(square) + eps)
        np.testing.assert_allclose(params["a"][0], float(p), rtol=1e-13, atol=1e-320)


def test_the_state_in_half_precision_is_float32():
    half = arrays(0, np.float16)
    params, state = adam(half, half)
    assert {p.dtype for p in params.values()} == {np.dtype(np.float16)}
    for slot in ("mean", "root_mean_square"):
        assert {a.dtype for a in state[slot].values()} == {np.dtype(np.float32)}
    adam(params, half, state)
    state["mean"] = {name: a.astype(np.float16) for name, a in state["mean"].items()}
    message = r"state\['mean'\]\['a'\]: expected dtype float32 for float16 .* got float16"
    with pytest.raises(TypeError, match=message):
        adam(params, half, state)


def test_nesterov_does_not_add_what_would_overflow():
    grads = {"a": np.full(1, 3e38, np.float32)}
    params, _ = sgd({"a": np.zeros(1, np.float32)}, grads, lr=0.01, momentum=0.9, nesterov=True)
    np.testing.assert_allclose(params["a"], -0.019 * 3e38, rtol=1e-6)


def test_clipping_at_infinity_changes_nothing_and_finds_the_norm():
    grads = arrays()
    for bound in (float("inf"), 1e308):
        clipped, norm = clip_by_global_norm(grads, bound)
        assert all(clipped[name] is g or (clipped[name] == g).all() for name, g in grads.items())
        joint = np.concatenate(list(grads.values()))
        np.testing.assert_allclose(norm, np.linalg.norm(joint), rtol=1e-14)


def test_half_precision_is_clipped_where_its_squares_vanish():
    for dtype, tolerance in ((np.float16, 2e-3), (np.float32, 1e-6)):
        grads = {"w": np.full((300, 300), 0.01, dtype)}
        clipped, norm = clip_by_global_norm(grads, 1.0)
        assert norm.dtype == clipped["w"].dtype == dtype
        np.testing.assert_allclose(norm, 3.0, rtol=tolerance)
        np.testing.assert_allclose(clipped["w"], 1 / 300, rtol=tolerance)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_clipping_reports_gradients_that_are_not_finite(bad):
    clipped, norm = clip_by_global_norm({"a": np.asarray([1.0, bad]), "b": np.ones(2)}, 1.0)
    assert np.isnan(norm) if np.isnan(bad) else norm == np.inf
    assert np.isnan(clipped["a"][1])


NOT_NUMBERS = (float("nan"), "0.1", True, None, [0.1], np.ones(2), np.ones(1))
OPTIONS = {
    "lr": (sgd, {}, (-1.0, float("inf"))),
    "momentum": (sgd, {"lr": 0.1}, (-0.1, 1.0, float("inf"))),
    "weight_decay": (sgd, {"lr": 0.1}, (-0.1, float("inf"))),
    "alpha": (rmsprop, {}, (-0.1, 1.0)),
    "eps": (rmsprop, {}, (0.0, -1e-8, float("inf"))),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_that_is_no_valid_number_is_named(name):
    optimizer, options, out_of_range = OPTIONS[name]
    for bad in (*out_of_range, *NOT_NUMBERS):
        with pytest.raises((TypeError, ValueError), match=f"^{name}: expected a number"):
            optimizer(arrays(0), arrays(1), **options, **{name: bad})
    for bad in (0.0, -1.0, *NOT_NUMBERS):
        with pytest.raises((TypeError, ValueError), match=r"^max_norm: expected a number above 0"):
            clip_by_global_norm(arrays(), bad)
    for bad in (1, 0, "yes", None):
        with pytest.raises(TypeError, match=r"^nesterov: expected True or False"):
            sgd(arrays(0), arrays(1), lr=0.1, momentum=0.9, nesterov=bad)
    for bad in (0.9, (0.9,), (0.9, 0.99, 0.999), "ab", None):
        with pytest.raises(TypeError, match=r"^betas: expected a pair of numbers"):
            adam(arrays(0), arrays(1), betas=bad)
    for bad in (*NOT_NUMBERS, 1.0):
        with pytest.raises((TypeError, ValueError), match=r"^betas\[1\]: expected a number in"):
            adamw(arrays(0), arrays(1), betas=(0.9, bad))


def test_a_learning_rate_of_zero_is_taken():
    params, _ = adam(arrays(0), arrays(1), lr=0.0)
    for name, p in arrays(0).items():
        np.testing.assert_array_equal(params[name], p)


def test_a_learning_rate_may_be_an_array_of_no_axes():
    for lr in (np.asarray(0.1), np.float32(0.1)):
        params, _ = adam(arrays(0, np.float32), arrays(1, np.float32), lr=lr)
        want, _ = adam(arrays(0, np.float32), arrays(1, np.float32), lr=float(lr))
        for name, p in want.items():
            assert params[name].dtype == np.float32
            np.testing.assert_array_equal(params[name], p)


P, G = {"w": np.zeros((2, 3))}, {"w": np.ones((2, 3))}
KEPT = sgd(P, G, lr=0.1, momentum=0.9)[1]


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ({"momentum": {"w": np.zeros((5, 2, 3))}}, ValueError, r"\(2, 3\), got \(5, 2, 3\)"),
        ({"momentum": {"w": np.zeros((2, 3), np.float32)}}, TypeError, "float64 for float64 .*t32"),
        ({"momentum": {"w": np.zeros((2, 3), int)}}, TypeError, "dtype float64 .* got int64"),
        ({"momentum": {"w": [[0.0] * 3] * 2}}, TypeError, "expected an array .* got list"),
        ({"momentum": {"v": np.zeros((2, 3))}}, ValueError, r"'momentum'\]: expected the names w"),
        ({"momentum": [np.zeros((2, 3))]}, TypeError, r"'momentum'\]: expected a dict"),
        ({"step": -1}, ValueError, r"'step'\]: expected at least 0, got -1"),
        ({"step": 1.0}, TypeError, r"'step'\]: expected an int, got 1.0"),
        ({"step": True}, TypeError, r"'step'\]: expected an int, got True"),
        ({"step": np.asarray([1])}, TypeError, r"'step'\]: expected an int, or .* \(1,\)"),
        ({"step": np.asarray(1.0)}, TypeError, r"'step'\]: expected an int, or .* float64"),
        ({"step": None}, TypeError, r"'step'\]: expected an int, got None"),
    ],
)
def test_a_state_that_is_not_of_these_parameters_is_named(state, error, message):
    with pytest.raises(error, match=rf"^state.*{message}"):
        sgd(P, G, KEPT | state, lr=0.1, momentum=0.9)


@pytest.mark.parametrize("dtype", [np.int64, np.bool_, np.complex128])
def test_parameters_and_gradients_are_real_floating_numbers(dtype):
    array = {"w": np.ones((2, 3), dtype)}
    for call in (lambda: sgd(array, array, lr=0.1), lambda: adam(array, array)):
        with pytest.raises(TypeError, match=r"^params\['w'\]: expected a real floating dtype"):
            call()
    with pytest.raises(TypeError, match=r"^grads\['w'\]: expected a real floating dtype"):
        clip_by_global_norm(array, 1.0)


def test_clipping_requires_arrays_of_one_dtype():
    with pytest.raises(TypeError, match=r"^grads\['b'\]: expected dtype float64 like grads\['a'\]"):
        clip_by_global_norm({"a": np.ones(2), "b": np.ones(2, np.float32)}, 1.0)
    with pytest.raises(TypeError, match=r"^grads\['a'\]: expected an array .* got list"):
        clip_by_global_norm({"a": [1.0]}, 1.0)


@pytest.mark.parametrize(
    ("grads", "state", "message"),
    [
        (clip_by_global_norm(arrays(1), 1.0), None, "^grads: .*got tuple; give its first entry$"),
        (arrays(1), {}, "^state: expected the entries step, mean, .* got none; None begins anew$"),
    ],
)
def test_swapped_arguments_are_refused_with_a_remedy(grads, state, message):
    with pytest.raises((TypeError, ValueError), match=message):
        adam(arrays(0), grads, state)
