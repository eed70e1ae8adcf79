"""Beyond the gradient, on every backend: Jacobian, Hessian, Gauss-Newton, single sequences.

Against differences of 50-digit gradients, which share neither code nor method with the
complex step that is under test.
"""

from functools import lru_cache

import numpy as np
import pytest
from array_api_compat import array_namespace, device

import portable_rnn as prnn

from .oracles.curvature import derivatives
from .problems import CELLS, Inputs, Problem
from .standard import STANDARD
from .subject import largest, put
from .tolerances import EPS, allowed_eps, assert_close

FEW = ("readout-batch_first",)
SOME = ("default", "both_directions", "lengths")
MORE = (
    *("one_step", "unbatched", "one_unit", "saturated", "zero_state", "no_bias", "mask"),
    *("two_layers", "two_layers-both_directions", "readout-both_directions"),
    "both_directions-lengths",
)
# Without complex numbers: central differences, as the library says, and what it says of them.
DIFFERENCES = {"float64": 1e-10, "float32": 1e-3}


def cases(row, dtype):
    """Return the problems of a row; few where every new shape takes long, or for a variant."""
    if row.library == "ndonnx":  # without complex numbers, and minutes for a graph of many steps
        return [STANDARD[f"{cell}-one_step"] for cell in CELLS]
    names = FEW if row.few_shapes else FEW + SOME
    if not (row.few_shapes or row.variant or row.shapes_only or dtype == "float16"):
        names += MORE
    found = [f"{cell}-{name}" for cell in CELLS for name in names]
    relu = ["elman-relu"] if len(names) > len(FEW + SOME) else []
    return [STANDARD[name] for name in found + relu]


def given(problem, dtype):
    """Return inputs, targets, and a direction for all that can move; exact in every dtype."""
    inputs = problem.arrays(dtype)._replace(d_outputs=None, d_state=None)
    rng = np.random.default_rng(problem.seed)

    def direction(value):
        if value is None:
            return None
        if isinstance(value, dict):
            return {name: direction(array) for name, array in value.items()}
        if isinstance(value, tuple):
            return tuple(map(direction, value))
        return (rng.integers(-64, 65, value.shape) / 64).astype(dtype)

    targets = rng.integers(0, problem.model.feature_size, inputs.x.shape[:-1])
    moves = map(direction, (inputs.params, inputs.x, inputs.state))
    return inputs, targets, Inputs(*moves, None, None)


@lru_cache
def reference(problem):
    return derivatives(problem, *given(problem, "float64"))


def solve(model, inputs, targets, tangents):
    """Return all results by name."""
    params, x, state = inputs.params, inputs.x, inputs.state
    steps = {"lengths": inputs.lengths, "mask": inputs.mask}
    pushed = prnn.jvp(
        *(model, params, x, state),
        **{"d_params": tangents.params, "d_x": tangents.x, "d_state": tangents.state},
        **steps,
    )
    options = {"state": state, "reduction": "sum", "check_targets": False, **steps}
    hessian = prnn.hvp(model, params, x, targets, tangents.params, **options)
    curved = prnn.gauss_newton_product(model, params, x, targets, tangents.params, **options)
    found = {"outputs": pushed.outputs, "jvp": pushed.d_outputs}
    for name, value in (("state", pushed.state), ("jvp_state", pushed.d_state)):
        parts = value if isinstance(value, tuple) else (value,)
        found |= {f"{name}[{i}]": part for i, part in enumerate(parts)}
    found |= {f"hvp[{name}]": array for name, array in hessian.items()}
    found |= {f"gnvp[{name}]": array for name, array in curved.items()}
    each = prnn.per_example_gradients(model, params, x, targets, **options)
    norms = prnn.per_example_norms(model, params, x, targets, **options)
    return found | {f"each[{name}]": array for name, array in each.items()} | {"norms": norms.total}


def test_products(backend, dtype, problem, record):
    host, targets, tangents = given(problem, dtype)
    inputs = put(backend, host)
    found = backend.call(solve, problem.model, inputs, backend.put(targets), put(backend, tangents))
    want = reference(problem)
    assert set(found) == set(want)
    moved = largest(tangents.params.values())
    for name, array in found.items():
        what = f"{backend.id}: {name} of {problem}"
        assert array_namespace(array) is array_namespace(inputs.x), what
        assert array.dtype == inputs.x.dtype, f"{what}: dtype {array.dtype}"
        assert device(array) == device(inputs.x), f"{what}: device {device(array)}"
        assert tuple(array.shape) == want[name].shape, f"{what}: shape {tuple(array.shape)}"
        if backend.shapes_only:
            continue
        allowed = allowed_eps(backend.id, dtype)
        if not hasattr(backend.xp, "complex64") and name.startswith(("jvp", "hvp", "gnvp")):
            allowed = DIFFERENCES[dtype] / EPS[dtype]
        eps = assert_close(backend.get(array), want[name], what, scale=moved, k=allowed)
        record(problem.cell, problem.id, name, problem.steps, eps, allowed)


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


@pytest.mark.dtypes("float64", "float32")
@pytest.mark.parametrize("cell", ["elman", "lstm"])
def test_gradient_flow(backend, dtype, cell, record):
    """Equal to that of NumPy in float64, which tests/test_flow.py holds to plain definitions."""
    problem = Problem(cell, 5, 3, 2, 2, 3, 2, "outputs", False, ragged="lengths")
    host, targets, _ = given(problem, dtype)
    inputs = put(backend, host)
    if getattr(backend, "jit", False):
        with pytest.raises(TypeError, match="x: gradient_flow runs step by step, and cannot be"):
            backend.call(flow, problem.model, inputs, backend.put(targets))
        return
    found = backend.call(flow, problem.model, inputs, backend.put(targets))
    wide = {name: array.astype("float64") for name, array in host.params.items()}
    state = host.state if isinstance(host.state, tuple) else (host.state,)
    state = tuple(part.astype("float64") for part in state)
    wide = host._replace(params=wide, x=host.x.astype("float64"), state=state)
    want = flow(problem.model, wide, targets)
    assert set(found) == set(want)
    for name, array in found.items():
        what = f"{backend.id}: {name} of the flow of {cell}"
        assert array_namespace(array) is array_namespace(inputs.x), what
        assert array.dtype == inputs.x.dtype, f"{what}: dtype {array.dtype}"
        assert tuple(array.shape) == want[name].shape, f"{what}: shape {tuple(array.shape)}"
        if backend.shapes_only:
            continue
        allowed = allowed_eps(backend.id, dtype)
        if not hasattr(backend.xp, "complex64") and name == "jacobian":
            allowed = DIFFERENCES[dtype] / EPS[dtype]
        eps = assert_close(backend.get(array), np.asarray(want[name]), what, scale=1.0, k=allowed)
        record(cell, f"flow-{cell}", name, problem.steps, eps, allowed)
