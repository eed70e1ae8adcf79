"""The normalisation of cells, compared with torch's in float64: up to the largest rows."""

import numpy as np
import pytest

from portable_rnn.cells.layer_norm import norm, norm_vjp

from .backend import host_dtype
from .tolerances import allowed_eps, assert_close

pytestmark = pytest.mark.oracle("torch")
# Up to sizes of which the dtype holds the sum of eight.
SIZES = {
    "float16": (2.0**-8, 1.0, 300.0, 8000.0),
    "bfloat16": (1e-15, 1.0, 1e10, 1e31),
    "float32": (1e-15, 1.0, 1e10, 1e31),
    "float64": (1e-15, 1.0, 1e100, 1e150),
}
# By dtype: numbers so small that their mean just has full precision; the largest in rows of 1024;
# and a number whose square is infinite.
LIMITS = {
    "float16": (2.0**-14, 2.0**13, None),
    "bfloat16": (2.0**-112, 2e30, 1e34),
    "float32": (2.0**-112, 2e30, 1e34),
    "float64": (2.0**-1008, 1e165, 1e170),
}


def by_torch(a, d_normal):
    import torch

    unit = max(1.0, float(np.max(np.abs(a.astype("float64")))))  # the squares of 1e165 are infinite
    a = torch.tensor(a.astype("float64") / unit, requires_grad=True)
    normal = torch.nn.functional.layer_norm(a, a.shape[-1:], eps=(1e-5**0.5 / unit) ** 2)
    normal.backward(torch.tensor(d_normal.astype("float64")))
    return {"normal": normal.detach().numpy(), "d_a": a.grad.numpy() / unit}


def of_us(backend, a, d_normal):
    """Normalise on a backend, forward and backward; return the arguments and the results."""
    given = backend.put(a), backend.put(d_normal)
    xp = backend.namespace(given[0])

    def run(_, a, d_normal):
        normal, residuals = norm(xp, a)
        return {"normal": normal, "d_a": norm_vjp(xp, residuals, d_normal)}

    with backend.device_context():
        return given, backend.call(run, None, *given)


@pytest.mark.parametrize("size", range(4))
def test_rows_of_many_sizes_are_normalised(backend, dtype, size, record):
    rng = np.random.default_rng(size)
    a = (SIZES[dtype][size] * rng.standard_normal((3, 8))).astype(host_dtype(dtype))
    d_normal = rng.standard_normal((3, 8)).astype(host_dtype(dtype))
    given, found = of_us(backend, a, d_normal)
    for name, ref in by_torch(a, d_normal).items():
        array = found[name]
        assert array.dtype == given[0].dtype
        if backend.shapes_only:
            continue
        k, what = allowed_eps(backend.id, dtype), f"{backend.id}: {name} of size {size}, {dtype}"
        # The cotangent of large rows is small, as it should be: it is compared at its own scale.
        eps = assert_close(backend.get(array), ref, what, k=k)
        record("layer norm", f"size-{size}", name, 1, eps, k)


@pytest.mark.parametrize("end", ["smallest", "largest"])
def test_long_rows_are_normalised_up_to_the_ends_of_the_range(backend, dtype, end, record):
    if backend.shapes_only:
        pytest.skip("not run: this backend has no values")
    size = LIMITS[dtype][end == "largest"]
    rng = np.random.default_rng(0)
    drawn, d_normal = rng.uniform(1.0, 2.0, (2, 1024)), rng.uniform(-1.0, 1.0, (2, 1024))
    drawn *= rng.choice([-1.0, 1.0], drawn.shape) * (1.0 if end == "smallest" else 0.5)
    a, d_normal = (array.astype(host_dtype(dtype)) for array in (size * drawn, d_normal))
    _, found = of_us(backend, a, d_normal)
    for name, ref in by_torch(a, d_normal).items():
        k, what = allowed_eps(backend.id, dtype), f"{backend.id}: {name}, {end} {dtype}"
        eps = assert_close(backend.get(found[name]), ref, what, k=k)
        record("layer norm", end, name, 1, eps, k)


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_rows_of_infinite_squares_are_nan_and_not_wrong(backend, dtype):
    size = LIMITS[dtype][2]
    if backend.shapes_only:
        pytest.skip("not run: this backend has no values")
    if size is None:
        pytest.skip("not run: float32, which float16 is normalised in, has the squares of all rows")
    a = np.asarray([[size, -size, 0.0, size], [1.0, 2.0, 3.0, 5.0]]).astype(host_dtype(dtype))
    _, found = of_us(backend, a, np.ones_like(a))
    for array in found.values():
        assert np.isnan(backend.get(array)[0]).all()
        assert np.isfinite(backend.get(array)[1]).all()
