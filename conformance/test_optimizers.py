"""Every optimizer on every backend, in every dtype: five steps beside plain formulas in float64."""

import numpy as np
import pytest

from portable_rnn import optimizers

from .backend import host_dtype
from .oracles.optimizers import RULES, clipped, steps
from .subject import check_arrays, largest
from .tolerances import allowed_eps

STEPS = 5
SHAPES = {"weight": (3, 4), "bias": (4,)}
# The eps of the rules is one that float16 has; options are exact in binary, as all numbers here.
CASES = {
    "sgd": ("sgd", {"lr": 0.125}),
    "sgd-decay": ("sgd", {"lr": 0.125, "weight_decay": 0.25}),
    "sgd-momentum": ("sgd", {"lr": 0.125, "momentum": 0.875}),
    "sgd-nesterov": ("sgd", {"lr": 0.125, "momentum": 0.875, "nesterov": True}),
    "rmsprop": ("rmsprop", {"lr": 0.125, "alpha": 0.75, "eps": 2.0**-8}),
    "adam": ("adam", {"lr": 0.125, "betas": (0.75, 0.875), "eps": 2.0**-8}),
    "adamw": ("adamw", {"lr": 0.125, "weight_decay": 0.25, "eps": 2.0**-8}),
}


def take(static, params, grads):
    """Take a step for each of ``grads``; a function that a backend can compile."""
    name, *options = static
    state = None
    for of_step in grads:
        params, state = getattr(optimizers, name)(params, of_step, state, **dict(options))
    slots = {slot: arrays for slot, arrays in state.items() if slot != "step"}
    return {
        f"{s}[{n}]": a
        for s, arrays in ({"params": params} | slots).items()
        for n, a in arrays.items()
    }


def clip(max_norm, grads):
    found, norm = optimizers.clip_by_global_norm(grads, max_norm)
    return {"norm": norm} | {f"grads[{name}]": array for name, array in found.items()}


def draw(rng, dtype):
    """Draw numbers of few digits, the same in all dtypes."""
    return {
        name: (rng.integers(-64, 64, shape) / 32).astype(host_dtype(dtype))
        for name, shape in SHAPES.items()
    }


def compare(backend, dtype, function, static, host, wanted, record, case):
    """Run twice; hold the results to ``wanted``, and the arguments to what they were."""
    given = tuple(_moved(backend, tree) for tree in host)
    found = backend.call(function, static, *given)
    again = backend.call(function, static, *given)
    like = next(iter((given[0][0] if isinstance(given[0], tuple) else given[0]).values()))
    allowed = allowed_eps(backend.id, dtype)

    def told(name, eps):
        record("optimizers", case, name, STEPS, eps, allowed)

    check_arrays(backend, found, again, like, wanted, lambda _: 2.0, case, allowed, told)
    if not backend.shapes_only:
        for before, after in zip(_leaves(host), _leaves(given), strict=True):
            assert backend.get(after).tobytes() == before.tobytes(), f"{case}: written to"


def _moved(backend, tree):
    if isinstance(tree, tuple):
        return tuple(_moved(backend, part) for part in tree)
    return {name: backend.put(array) for name, array in tree.items()}


def _leaves(tree):
    if isinstance(tree, tuple):
        return [leaf for part in tree for leaf in _leaves(part)]
    return list(tree.values())


@pytest.mark.parametrize("case", CASES)
def test_five_steps_equal_the_formulas(backend, dtype, case, record):
    name, options = CASES[case]
    rng = np.random.default_rng(sorted(CASES).index(case))
    params, grads = draw(rng, dtype), tuple(draw(rng, dtype) for _ in range(STEPS))
    wanted = steps(name, params, grads, **options)
    static = (name, *options.items())
    compare(backend, dtype, take, static, (params, grads), wanted, record, case)


@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_clipping_equals_its_formula(backend, dtype, max_norm, record):
    grads = draw(np.random.default_rng(0), dtype)
    wanted, norm = clipped(grads, max_norm)
    wanted = {f"grads[{name}]": array for name, array in wanted.items()} | {
        "norm": np.asarray(norm)
    }
    case = f"clip-{max_norm:g}"
    compare(backend, dtype, clip, max_norm, (grads,), wanted, record, case)
    assert (norm > max_norm) == (max_norm == 0.5), "both sides of the bound are tried"
    assert largest(grads.values()) < max(norm, max_norm)


def test_every_optimizer_is_tried():
    assert {name for name, _ in CASES.values()} == set(RULES)
    assert set(RULES) == set(optimizers.__all__) - {"Optimizer", "clip_by_global_norm"}
