"""The normalisation of cells, beside torch's in float64: rows of any size, in every dtype."""

import numpy as np
import pytest

from portable_rnn.cells.layer_norm import norm, norm_vjp

from .backend import host_dtype
from .tolerances import allowed_eps, assert_close

pytestmark = pytest.mark.oracle("torch")
# Up to what has a sum of eight in the dtype.
SIZES = {
    "float16": (2.0**-8, 1.0, 300.0, 8000.0),
    "bfloat16": (1e-15, 1.0, 1e10, 1e31),
    "float32": (1e-15, 1.0, 1e10, 1e31),
    "float64": (1e-15, 1.0, 1e100, 1e150),
}


def by_torch(a, d_normal):
    import torch

    a = torch.tensor(a.astype("float64"), requires_grad=True)
    normal = torch.nn.functional.layer_norm(a, a.shape[-1:], eps=1e-5)
    normal.backward(torch.tensor(d_normal.astype("float64")))
    return {"normal": normal.detach().numpy(), "d_a": a.grad.numpy()}


@pytest.mark.parametrize("size", range(4))
def test_rows_of_any_size_are_normalised(backend, dtype, size, record):
    rng = np.random.default_rng(size)
    a = (SIZES[dtype][size] * rng.standard_normal((3, 8))).astype(host_dtype(dtype))
    d_normal = rng.standard_normal((3, 8)).astype(host_dtype(dtype))
    given = backend.put(a), backend.put(d_normal)
    xp = backend.namespace(given[0])

    def run(_, a, d_normal):
        normal, residuals = norm(xp, a)
        return {"normal": normal, "d_a": norm_vjp(xp, residuals, d_normal)}

    found = backend.call(run, None, *given)
    for name, ref in by_torch(a, d_normal).items():
        array = found[name]
        assert array.dtype == given[0].dtype
        if backend.shapes_only:
            continue
        k, what = allowed_eps(backend.id, dtype), f"{backend.id}: {name} of size {size}, {dtype}"
        # Of large rows the cotangent is small, as it should be: it is held to its own size.
        eps = assert_close(backend.get(array), ref, what, k=k)
        record("layer norm", f"size-{size}", name, 1, eps, k)
