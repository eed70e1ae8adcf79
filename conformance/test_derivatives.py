"""Beyond the gradient, on every backend: products with Jacobian, Hessian and Gauss-Newton matrix.

Against differences of 50-digit gradients, which share neither code nor method with the
complex step that is under test.
"""

from functools import lru_cache

import numpy as np
from array_api_compat import array_namespace, device

import portable_rnn as prnn

from .oracles.curvature import derivatives
from .problems import CELLS
from .standard import STANDARD
from .subject import largest, put
from .tolerances import EPS, allowed_eps, assert_close

FEW = ("default", "readout-batch_first")
MORE = ("one_step", "unbatched", "one_unit", "saturated", "zero_state", "no_bias", "40_steps")
# Without complex numbers: central differences, as the library says, and what it says of them.
DIFFERENCES = {"float64": 1e-10, "float32": 1e-3}


def cases(row, dtype):
    """Return the problems of a row; few where every new shape takes long, or for a variant."""
    names = FEW if row.few_shapes or row.variant or row.shapes_only else FEW + MORE
    if dtype == "float16":  # with few steps: its rounding says nothing about the code
        names = FEW
    found = [f"{cell}-{name}" for cell in CELLS for name in names]
    relu = ["elman-relu"] if len(names) > len(FEW) else []
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

    targets = rng.integers(0, problem.outputs or problem.hidden, inputs.x.shape[:-1])
    return (
        inputs,
        targets,
        inputs._replace(
            params=direction(inputs.params), x=direction(inputs.x), state=direction(inputs.state)
        ),
    )


@lru_cache
def reference(problem):
    return derivatives(problem, *given(problem, "float64"))


def solve(model, inputs, targets, tangents):
    """Return all results by name."""
    params, x, state, *_ = inputs
    pushed = prnn.jvp(
        *(model, params, x, state),
        **{"d_params": tangents.params, "d_x": tangents.x, "d_state": tangents.state},
    )
    options = {"state": state, "reduction": "sum", "check_targets": False}
    hessian = prnn.hvp(model, params, x, targets, tangents.params, **options)
    curved = prnn.gauss_newton_product(model, params, x, targets, tangents.params, **options)
    found = {"outputs": pushed.outputs, "jvp": pushed.d_outputs}
    for name, value in (("state", pushed.state), ("jvp_state", pushed.d_state)):
        parts = value if isinstance(value, tuple) else (value,)
        found |= {f"{name}[{i}]": part for i, part in enumerate(parts)}
    found |= {f"hvp[{name}]": array for name, array in hessian.items()}
    return found | {f"gnvp[{name}]": array for name, array in curved.items()}


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
        if not hasattr(backend.xp, "complex64") and name not in ("outputs", "state"):
            allowed = DIFFERENCES[dtype] / EPS[dtype]
        eps = assert_close(backend.get(array), want[name], what, scale=moved, k=allowed)
        record(problem.cell, problem.id, name, problem.steps, eps, allowed)
