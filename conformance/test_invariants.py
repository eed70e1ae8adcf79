"""Invariants: the order of a batch, how it is split, and where time is cut do not matter.

The whole and its parts are both computed by the backend; no oracle is needed.
"""

import numpy as np
import pytest

from .problems import TORCH_CELLS, Inputs, Problem
from .selection import full_precision
from .subject import largest, leaves, put, solve
from .tolerances import allowed_eps, assert_close

# The cuts below come in pairs that share their shapes, for where every new shape takes long.
STEPS, BATCH = 4, 4
SUMMED = "d_params"  # over the batch; all else belongs to one sequence each


dtypes = full_precision


# Of the module's scope, so that the tests of one cell come one after another: with
# `--dist worksteal`, one process then builds the graphs of one cell for all of them.
@pytest.fixture(params=TORCH_CELLS, scope="module")
def problem(request):
    return Problem(request.param, 7, STEPS, BATCH, 3, 5, 2, "both", False)


def run(backend, problem, host):
    found = backend.call(solve, problem.model, put(backend, host))
    return {name: backend.get(array).astype("float64") for name, array in found.items()}


def part(host, of_time=None, of_batch=None, state=None, d_state=None):
    """Return the inputs of some steps, or of some sequences."""
    time = slice(None) if of_time is None else of_time
    batch = slice(None) if of_batch is None else of_batch

    def parts(given, otherwise):
        chosen = otherwise if given is None else given
        chosen = chosen if isinstance(chosen, tuple) else (chosen,)
        chosen = tuple(a[:, batch] for a in chosen)
        return chosen if len(chosen) > 1 else chosen[0]

    return Inputs(
        host.params,
        host.x[time, batch],
        parts(state, host.state),
        host.d_outputs[time, batch],
        parts(d_state, host.d_state),
    )


def hold(backend, dtype, host, got, want, what):
    if backend.shapes_only:
        return
    scale = largest(a for name, a in leaves(host).items())
    for name, ref in want.items():
        allowed = allowed_eps(backend.id, dtype)
        label = f"{backend.id} {dtype}: {name} of {what}"
        assert_close(got[name].astype(dtype), ref, label, scale=scale, k=allowed)


def test_the_order_of_the_batch_does_not_matter(backend, dtype, problem):
    host = problem.arrays(dtype)
    order = np.asarray([2, 0, 3, 1])
    whole = run(backend, problem, host)
    shuffled = run(backend, problem, part(host, of_batch=order))
    want = {n: a if n.startswith(SUMMED) else a[:, order] for n, a in whole.items()}
    hold(backend, dtype, host, shuffled, want, "a batch in another order")


@pytest.mark.parametrize("size", [1, 3])
def test_a_batch_is_the_sum_of_its_parts(backend, dtype, problem, size):
    host = problem.arrays(dtype)
    whole = run(backend, problem, host)
    parts = [
        run(backend, problem, part(host, of_batch=np.arange(BATCH)[cut]))
        for cut in (slice(0, size), slice(size, None))
    ]
    got = {
        n: sum(p[n] for p in parts)
        if n.startswith(SUMMED)
        else np.concatenate([p[n] for p in parts], axis=1)
        for n in whole
    }
    hold(backend, dtype, host, got, whole, f"a batch split after {size}")


@pytest.mark.parametrize("cut", [1, 3])
def test_time_is_the_sum_of_its_parts(backend, dtype, problem, cut):
    """The state is carried forwards, and its cotangent backwards."""
    host = problem.arrays(dtype)
    whole = run(backend, problem, host)
    early, late = slice(0, cut), slice(cut, None)

    def state(found, name):
        parts = [a.astype(dtype) for n, a in found.items() if n.startswith(name + "[")]
        return tuple(parts) if len(parts) > 1 else parts[0]

    first = run(backend, problem, part(host, early))
    second = run(backend, problem, part(host, late, state=state(first, "state")))
    first = run(backend, problem, part(host, early, d_state=state(second, "d_state")))
    got = {}
    for name in whole:
        if name.startswith(SUMMED):
            got[name] = first[name] + second[name]
        elif name in ("outputs", "d_x"):
            got[name] = np.concatenate([first[name], second[name]], axis=0)
        else:
            got[name] = (first if name.startswith("d_state") else second)[name]
    hold(backend, dtype, host, got, whole, f"time cut after {cut}")
