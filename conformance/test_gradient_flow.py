"""Gradients followed back through time, step by step, on every backend."""

import numpy as np
import pytest
from array_api_compat import array_namespace

import portable_rnn as prnn

from .directions import given
from .problems import Problem
from .subject import put
from .test_derivatives import DIFFERENCES
from .tolerances import EPS, allowed_eps, assert_close


def cases(row, dtype):
    """Return a problem of each kind of state; of one step where every operation takes long."""
    if row.slow:
        one = Problem("elman", 5, 1, 2, 2, 3, 2, "outputs", False)
        return [one] if dtype == row.dtypes[0] else []
    if dtype == "float16":  # differences of norms in half precision say nothing about the code
        return []
    return [
        Problem(cell, 5, 3, 2, 2, 3, 2, "outputs", False, ragged="lengths")
        for cell in ("elman", "lstm")
    ]


def when_named(row, dtype, problem):
    """Return whether a problem is left to the session that names its row.

    On slow rows all are left, except on `jax-x32`, and on `jax-jit`, which only has to refuse.
    """
    return row.slow and row.id not in ("jax-jit", "jax-x32")


def flow(model, inputs, targets):
    """Return the norms of a gradient flow by name."""
    found = prnn.gradient_flow(
        *(model, inputs.params, inputs.x, targets),
        **{"state": inputs.state, "lengths": inputs.lengths, "reduction": "sum"},
        **{"check_targets": False, "by_loss_step": True, "iterations": 2},
    )
    named = {"loss": found.loss, "jacobian": found.jacobian, "parts": found.d_h_by_loss_step}
    named |= {f"d_state[{i}]": part for i, part in enumerate(found.d_state)}
    return named | {f"norm[{name}]": norms for name, norms in found.params.items()}


def test_gradient_flow(backend, dtype, problem, record):
    """Equal to that of NumPy in float64, which tests/test_flow.py checks against definitions."""
    host, targets, _ = given(problem, dtype)
    inputs = put(backend, host)
    if getattr(backend, "jit", False):
        with pytest.raises(TypeError, match="x: gradient_flow runs step by step, and cannot be"):
            backend.call(flow, problem.model, inputs, backend.put(targets))
        return
    if backend.library == "cupy" and dtype == "bfloat16":
        with pytest.raises(TypeError, match=r"^x: expected dtype float16, .* got bfloat16"):
            flow(problem.model, inputs, backend.put(targets))
        return
    found = backend.call(flow, problem.model, inputs, backend.put(targets))
    wide = {name: array.astype("float64") for name, array in host.params.items()}
    state = host.state if isinstance(host.state, tuple) else (host.state,)
    state = tuple(part.astype("float64") for part in state)
    wide = host._replace(params=wide, x=host.x.astype("float64"), state=state)
    with prnn.use_namespace(np):  # on the host, whatever is under test
        want = flow(problem.model, wide, targets)
    assert set(found) == set(want)
    for name, array in found.items():
        what = f"{backend.id}: {name} of the flow of {problem.id}"
        assert array_namespace(array) is array_namespace(inputs.x), what
        assert array.dtype == inputs.x.dtype, f"{what}: dtype {array.dtype}"
        assert tuple(array.shape) == want[name].shape, f"{what}: shape {tuple(array.shape)}"
        if backend.shapes_only:
            continue
        allowed = allowed_eps(backend.id, dtype)
        by_differences = not hasattr(backend.xp, "complex64") and dtype in DIFFERENCES
        if by_differences and name == "jacobian":
            allowed = DIFFERENCES[dtype] / EPS[dtype]
        eps = assert_close(backend.get(array), np.asarray(want[name]), what, scale=1.0, k=allowed)
        record(problem.cell, problem.id, name, problem.steps, eps, allowed)
