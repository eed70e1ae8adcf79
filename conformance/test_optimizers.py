"""Every optimizer on every backend, in every dtype: steps compared with plain formulas in float64.

Five ordinary steps, and three with gradients from the smallest number of a dtype to the largest.
"""

import numpy as np
import pytest

from portable_rnn import optimizers

from .backend import host_dtype
from .combinators import COMBINATORS
from .optimizers import CASES, RULES, clipped, steps
from .subject import check_arrays, largest
from .tolerances import EPS, allowed_eps


def when_named(row, dtype):
    """Return whether a row is left to the session that names it.

    `jax` is left to its own session: `jax-jit` runs it compiled, `jax-x32` without.
    """
    return row.id == "jax"


STEPS = 5
SHAPES = {"weight": (3, 4), "bias": (4,)}


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
    """Run twice; compare the results with ``wanted``, and check that arguments are unchanged."""
    given = tuple(_moved(backend, tree) for tree in host)
    found = backend.call(function, static, *given)
    again = backend.call(function, static, *given)
    like = next(iter((given[0][0] if isinstance(given[0], tuple) else given[0]).values()))
    allowed = allowed_eps(backend.id, dtype)

    def record_eps(name, eps):
        record("optimizers", case, name, STEPS, eps, allowed)

    # The state of half-precision parameters is float32, and as exact as that.
    wide = backend.put(np.zeros(1, dtype=_wide(dtype)))
    for names, same in (_parted(found), like), (_parted(found, kept=True), wide):
        some, more, right = ({n: tree[n] for n in names} for tree in (found, again, wanted))
        check_arrays(backend, some, more, same, right, lambda _: 2.0, case, allowed, record_eps)
    if not backend.shapes_only:
        for before, after in zip(_leaves(host), _leaves(given), strict=True):
            assert backend.get(after).tobytes() == before.tobytes(), f"{case}: written to"


def _parted(found, *, kept=False):
    """Return the names of parameters and gradients, or of the state kept between steps."""
    return [n for n in found if n.startswith(("params", "grads", "norm")) != kept]


def _wide(dtype):
    return "float32" if dtype in ("float16", "bfloat16") else dtype


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


# By dtype: the smallest number, the smallest of full precision, and the largest.
RANGES = {
    "float16": (2.0**-24, 2.0**-14, 65504.0),
    "bfloat16": (2.0**-133, 2.0**-126, (2.0 - 2.0**-7) * 2.0**127),
    "float32": (2.0**-149, 2.0**-126, (2.0 - 2.0**-23) * 2.0**127),
}
FLUSHED = ("jax.numpy", "dpnp", "mlx.core")  # numbers below those of full precision may be 0
EXTREMES = {
    case: (rule.name, options) for rule in RULES.values() for case, options in rule.any_size.items()
}


def of_size(dtype, part, count, seed=0):
    """Draw numbers of one size, ``part`` of the way from the smallest of a dtype to the largest."""
    smallest, _, largest = RANGES[dtype]
    size = smallest if part == 0 else smallest ** (1 - part) * largest**part
    rng = np.random.default_rng(seed)
    drawn = rng.uniform(0.25, 1.0, count) * rng.choice([-1.0, 1.0], count)
    drawn = np.where(part == 0, np.sign(drawn), drawn)
    drawn[0] = 1.0
    return (drawn * size).astype(host_dtype(dtype))


def near(backend, dtype, got, ref, what, *, slack=0.0):
    """Check an array by the usual tolerance, plus a few of the smallest numbers of its dtype."""
    got, found = backend.get(got), backend.get(got).dtype.name
    smallest, normal, largest = RANGES[found]
    small = normal if backend.library in FLUSHED and found != "float16" else smallest
    limit = allowed_eps(backend.id, dtype) * EPS[found] * np.max(np.abs(ref)) + 4 * small + slack
    over = np.abs(ref) > largest
    assert np.array_equal(np.isinf(got), over), f"{backend.id}: {what}"
    off = np.where(over, 0.0, np.abs(got.astype("float64") - ref))
    assert np.max(off) <= limit, f"{backend.id}: {what}: off by {np.max(off):.3g} of {limit:.3g}"


@pytest.mark.parametrize("part", [0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0])
@pytest.mark.parametrize("case", EXTREMES)
def test_gradients_of_any_size_take_the_step_of_the_formulas(backend, dtype, case, part):
    """Squares of most of them are 0 or infinite in the dtype, and in float32."""
    if backend.shapes_only:
        pytest.skip("not run: this backend has no values")
    if dtype not in RANGES:
        pytest.skip("not run: there is no wider dtype to compare with")
    name, options = EXTREMES[case]
    grads = tuple({"a": of_size(dtype, part, 12, seed)} for seed in range(3))
    if RULES[name].jumps and backend.library in FLUSHED and part == 0.0:
        pytest.skip("not run: numbers as small as these have no sign on this backend")
    sums = RULES[name].sums or "momentum" in options
    if sums and part == 1.0 and dtype != "float16":
        grads = tuple({"a": g["a"] / 4} for g in grads)  # the state holds their sum
    params = {"a": np.zeros(12, dtype=host_dtype(dtype))}
    wanted = steps(name, params, grads, **options)
    given = [_moved(backend, tree) for tree in (params, grads)]
    found = backend.call(take, (name, *options.items()), *given)
    wide = _wide(dtype)
    small = RANGES[wide][1 if backend.library in FLUSHED else 0]
    for key, array in found.items():
        # The state lacks a few of the smallest numbers, and is then divided.
        divisor = options.get("eps", 1e-8) if name != "sgd" and key == "params[a]" else np.inf
        slack = 16 * options["lr"] * small / divisor
        near(backend, dtype, array, wanted[key], f"{key} of {case}, {dtype}", slack=slack)


@pytest.mark.filterwarnings("ignore:overflow encountered")  # of a norm that the dtype cannot hold
@pytest.mark.parametrize("part", [0.0, 0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("max_norm", [2.0**-10, 1.0, float("inf")])
def test_gradients_of_any_size_are_clipped(backend, dtype, max_norm, part):
    if backend.shapes_only:
        pytest.skip("not run: this backend has no values")
    if dtype not in RANGES:
        pytest.skip("not run: there is no wider dtype to compare with")
    grads = {"a": of_size(dtype, part, 300).reshape(20, 15), "b": of_size(dtype, part, 5, seed=1)}
    wanted, norm = clipped(grads, max_norm)
    found = backend.call(clip, max_norm, _moved(backend, grads))
    near(backend, dtype, found["norm"], np.asarray(norm), f"norm, {dtype}")
    for name, ref in wanted.items():
        near(backend, dtype, found[f"grads[{name}]"], ref, f"{name}, {dtype}")
        if max_norm >= norm and (part > 0.0 or backend.library not in FLUSHED):
            assert backend.get(found[f"grads[{name}]"]).tobytes() == grads[name].tobytes()


def test_every_optimizer_is_tried():
    others = {"Optimizer", "clip_by_global_norm", "averaged_params", "scaled_loss", "from_optax"}
    left_out = set(optimizers.__all__) - {*others, *COMBINATORS, *RULES}
    assert not left_out, f"no page in conformance/optimizers has {', '.join(left_out)}"
    assert all(rule.cases and rule.any_size for rule in RULES.values())
