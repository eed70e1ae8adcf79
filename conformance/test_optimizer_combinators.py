"""Optimizers made of others, on every backend, each step a call of its own.

So a backend that compiles gets counts of steps as arrays. They are compared with plain optimizers
of one number.
"""

import math

import numpy as np
import pytest

from portable_rnn.optimizers import averaged_params, mixed_precision, sgd

from .backend import host_dtype
from .combinators import CASES, LR
from .tolerances import EPS, allowed_eps, assert_close

SHAPES = {"weight": (3, 4), "bias": (4,)}
STEPS = 5


def when_named(row, dtype):
    """Return whether a case is left to the session that names its row.

    `jax` is left to its own session, as by test_optimizers.py, and all dtypes but one of slow rows.
    """
    return row.id == "jax" or (row.slow and dtype != "float32")


def take(case, params, grads, state):
    """Take a step; a function that a backend can compile."""
    updated, after = CASES[case].optimizer(params, grads, state, lr=LR)
    return {"params": updated, "state": after}


def take_all(case, params, grads):
    """Take all steps, for a backend whose calls take and return nothing but arrays."""
    found, state = {}, None
    for number, of_step in enumerate(grads):
        params, state = CASES[case].optimizer(params, of_step, state, lr=LR)
        found |= {f"{number} {name}": p for name, p in params.items()}
        found |= {f"{number} scale": state["scale"]} if "scale" in state else {}
    return found


def draw(rng, dtype):
    """Draw numbers of few digits, the same in all dtypes."""
    return {
        name: (rng.integers(-64, 64, shape) / 32).astype(host_dtype(dtype))
        for name, shape in SHAPES.items()
    }


def plain(case, params, grads):
    """Return the parameters after each step, by plain optimizers in float64."""
    found = {name: [] for name in params}
    for name, array in params.items():
        own = [getattr(case, name)() for _ in array.flat]
        numbers = [float(p) for p in array.flat]
        for number, of_step in enumerate(grads):
            slopes = [float(g) for g in of_step[name].flat]
            if case.max_norm is not None and name == "weight":
                factor = min(1.0, case.max_norm / math.hypot(*slopes))
                slopes = [factor * g for g in slopes]
            if not (case.scales and math.isnan(case.scales[number])):
                both = zip(own, numbers, slopes, strict=True)
                numbers = [step(p, g) for step, p, g in both]
            found[name].append(np.reshape(numbers, array.shape))
    return found


def run(backend, dtype, name):
    """Return parameters and gradients on the host, and parameters and state after each step."""
    case, rng = CASES[name], np.random.default_rng(sorted(CASES).index(name))
    params = draw(rng, dtype)
    grads = [draw(rng, dtype) for _ in case.scales or range(STEPS)]
    given, moved = {n: backend.put(p) for n, p in params.items()}, []
    for number, of_step in enumerate(grads):
        scaled = {n: np.array(g, copy=True) for n, g in of_step.items()}
        if case.scales and math.isnan(case.scales[number]):
            scaled["bias"][1] = np.inf
        elif case.scales:
            scaled = {n: g * g.dtype.type(case.scales[number]) for n, g in scaled.items()}
        moved.append({n: backend.put(g) for n, g in scaled.items()})
    state, after = None, []
    if in_one_call(backend):
        found = backend.call(take_all, name, given, tuple(moved))
        for number in range(len(grads)):
            of_step = {k.split()[1]: a for k, a in found.items() if k.split()[0] == str(number)}
            state = {"scale": of_step.pop("scale", None)}
            after.append((of_step, state))
        return params, grads, after
    for of_step in moved:
        given, state = backend.call(take, name, given, of_step, state).values()
        after.append((given, state))
    return params, grads, after


def in_one_call(backend):
    return not (backend.reads or backend.shapes_only)


def close(backend, dtype, got, wanted, case, record):
    """Check named arrays, by the tolerance of the suite."""
    if backend.shapes_only:
        assert {n: tuple(a.shape) for n, a in got.items()} == SHAPES
        return
    allowed = allowed_eps(backend.id, dtype)
    for name, array in got.items():
        what = f"{backend.id}: {name} of {case}, {dtype}"
        eps = assert_close(backend.get(array), wanted[name], what, scale=2.0, k=allowed)
        record("optimizers", f"combinators-{case}", name, STEPS, eps, allowed)


@pytest.mark.parametrize(
    "case",
    [
        "nested",
        "dynamic",
        *(pytest.param(case, marks=pytest.mark.when_named) for case in ("scaled", "frozen")),
    ],
)
def test_steps_equal_those_of_plain_optimizers(backend, dtype, case, record):
    params, grads, after = run(backend, dtype, case)
    wanted = plain(CASES[case], params, grads)
    first = backend.put(params["bias"])
    for name, p in after[-1][0].items():
        assert (type(p), p.dtype) == (type(first), first.dtype), name
    for number, (found, state) in enumerate(after):
        if number in (0, 1, len(after) - 1):
            now = {name: steps[number] for name, steps in wanted.items()}
            close(backend, dtype, found, now, case, record)
        if case == "dynamic" and number + 1 < len(after) and not backend.shapes_only:
            scale = CASES[case].scales[number + 1]
            assert math.isnan(scale) or float(backend.get(state["scale"])) == scale


@pytest.mark.parametrize("case", ["nested", pytest.param("average", marks=pytest.mark.when_named)])
def test_averages_equal_their_definition(backend, dtype, case, record):
    if (backend.slow and dtype != "float32") or in_one_call(backend):
        pytest.skip("not run: the parameters that are averaged are tested in every dtype")
    params, grads, after = run(backend, dtype, case)
    optimizer, count = CASES[case].optimizer, len(after)
    found = averaged_params(*after[-1])
    steps = plain(CASES[case], params, grads)
    parts = [optimizer.decay ** (count - 1 - i) for i in range(count)]
    if not optimizer.debias:  # the first is all there was before
        parts[0] /= 1.0 - optimizer.decay
    weights = [part / math.fsum(parts) for part in parts]
    wanted = {
        name: sum(w * p for w, p in zip(weights, of, strict=True)) for name, of in steps.items()
    }
    close(backend, dtype, found, wanted, case, record)


def test_small_steps_add_up_in_half_precision(backend, dtype):
    """A quarter of the spacing of numbers is lost each time, unless it is kept elsewhere."""
    if backend.slow or backend.shapes_only or dtype not in ("float16", "bfloat16"):
        pytest.skip("not run: this dtype is not half precision, or the backend is slow")
    ones = backend.put(np.ones(3, dtype=host_dtype(dtype)))
    for optimizer, moved in ((mixed_precision(sgd), 3.0), (sgd, 0.0)):
        params, state = {"w": ones}, None
        for _ in range(12):
            params, state = optimizer(params, {"w": -ones}, state, lr=0.25 * EPS[dtype])
        got = backend.get(params["w"]).astype("float64")
        np.testing.assert_array_equal((got - 1.0) / EPS[dtype], moved)
