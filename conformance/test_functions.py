"""The array functions that the library calls, each alone.

This is not a test of the standard, which data-apis/array-api-tests is. Where the standard problems
fail, it shows whether a function of the array library is the cause, and which.
"""

import math

import numpy as np
import pytest

from .tolerances import allowed_eps, assert_close

UNARY = {
    "tanh": (math.tanh, -9.0, 9.0),
    "exp": (math.exp, -20.0, 2.0),
    "log": (math.log, 0.01, 4.0),
    "sqrt": (math.sqrt, 0.0, 4.0),
}
COUNT = 257


def dtypes(row):
    return [dtype for dtype in row.dtypes if dtype in ("float64", "float32")]


def apply(static, *arrays):
    xp, name, *options = static
    return {"value": getattr(xp, name)(*arrays, **dict(options))}


def hold(backend, dtype, name, host, want, record, **options):
    given = tuple(map(backend.put, host))
    static = (backend.namespace(given[0]), name, *options.items())
    with backend.device_context():
        found = backend.call(apply, static, *given)["value"]
    if backend.shapes_only:
        assert tuple(found.shape) == want.shape
        return
    allowed = allowed_eps(backend.id, dtype)

    def record_eps(eps):
        record("functions", name, "value", 1, eps, allowed)

    what = f"{backend.id}: function {name}"
    assert_close(backend.get(found), want, what, k=allowed, record=record_eps)


@pytest.mark.parametrize("name", UNARY)
def test_a_function_of_one_number(backend, dtype, name, record):
    function, low, high = UNARY[name]
    x = np.linspace(low, high, COUNT).astype(dtype)
    want = np.asarray([function(float(v)) for v in x])
    hold(backend, dtype, name, (x,), want, record)


def test_matmul(backend, dtype, record):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((5, 64)).astype(dtype), rng.standard_normal((64, 3)).astype(dtype)
    want = [
        [math.fsum(float(p) * float(q) for p, q in zip(r, c, strict=True)) for c in b.T] for r in a
    ]
    hold(backend, dtype, "matmul", (a, b), np.asarray(want), record)


def test_sum(backend, dtype, record):
    x = np.random.default_rng(0).standard_normal((64, 5)).astype(dtype)
    want = np.asarray([math.fsum(map(float, column)) for column in x.T])
    hold(backend, dtype, "sum", (x,), want, record, axis=0)
