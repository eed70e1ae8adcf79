"""Beyond the gradient, on every backend: Jacobian, Hessian, Gauss-Newton, single sequences.

Against differences of 50-digit gradients, which share neither code nor method with the
complex step that is under test.
"""

from array_api_compat import array_namespace

import portable_rnn as prnn

from .directions import FEW, LENGTHS, MORE, SOME, given, of
from .references import DERIVATIVES
from .standard import STANDARD
from .subject import device_of, largest, put
from .tolerances import EPS, allowed_eps, assert_close

# Errors of the central differences for libraries without complex numbers, as documented.
DIFFERENCES = {"float64": 1e-10, "float32": 1e-3}


def cases(row, dtype):
    """Return the problems of a row; few where every new shape takes long, or for a variant."""
    if row.slow and dtype != row.dtypes[0]:
        return []
    if row.library == "ndonnx":  # no complex numbers, and a graph of many steps takes minutes
        return [STANDARD["elman-one_step"]]
    names = FEW if row.slow else FEW + LENGTHS if row.variant else FEW + SOME
    if dtype == "float64" and not (row.slow or row.variant or row.shapes_only):
        names += MORE
    return of(names)


def when_named(row, dtype, problem):
    """Return whether a problem is left to the session that names its row.

    On slow rows those of all cells but one are left: `jax` and `ndonnx` (which has no other) keep
    elman, `jax-x32` gru, and the others lstm.
    """
    kept = {"jax": "elman", "jax-x32": "gru", "ndonnx": "elman"}
    return row.slow and problem.cell != kept.get(row.id, "lstm")


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
    want = DERIVATIVES.load(problem)
    assert set(found) == set(want)
    moved = largest(tangents.params.values())
    for name, array in found.items():
        what = f"{backend.id}: {name} of {problem}"
        assert array_namespace(array) is array_namespace(inputs.x), what
        assert array.dtype == inputs.x.dtype, f"{what}: dtype {array.dtype}"
        assert device_of(array) == device_of(inputs.x), f"{what}: device {device_of(array)}"
        assert tuple(array.shape) == want[name].shape, f"{what}: shape {tuple(array.shape)}"
        if backend.shapes_only:
            continue
        allowed = allowed_eps(backend.id, dtype)
        by_differences = not hasattr(backend.xp, "complex64") and dtype in DIFFERENCES
        if by_differences and name.startswith(("jvp", "hvp", "gnvp")):
            allowed = DIFFERENCES[dtype] / EPS[dtype]
        eps = assert_close(backend.get(array), want[name], what, scale=moved, k=allowed)
        record(problem.cell, problem.id, name, problem.steps, eps, allowed)
