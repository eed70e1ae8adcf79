"""The one measure of error, used by every comparison of this project.

    max|got - ref|  <=  k · eps(dtype) · max(max|ref|, max|cotangent|)

``ref`` must come from float64 (or better), from inputs already rounded to the tested dtype: else
the rounding of the inputs passes for an error of the gradient. The cotangent belongs in the scale
because a gradient is a sum of products with it: where the sum cancels, ``max|ref|`` alone would
call correct code wrong. (For a value of the forward pass the parameters take that place: a
bias is a summand too.) Relative tolerances like 4·sqrt(eps), on the other hand, let real bugs
through.
"""

import numpy as np

# By name, since NumPy's finfo does not know bfloat16.
EPS = {"bfloat16": 2.0**-7, "float16": 2.0**-10, "float32": 2.0**-23, "float64": 2.0**-52}

__all__ = ["EPS", "WIDER", "K", "allowed_eps", "assert_close", "error_in_eps"]

# Correct code was measured below 11 on every row; planted errors of 1e-5 in float32 show above 50.
K = 16.0

# (backend, dtype) -> (allowed eps, the measured reason why it is more than K)
WIDER: dict[tuple[str, str], tuple[float, str]] = {}


def allowed_eps(backend: str, dtype: str) -> float:
    """Return the error in eps that is allowed for a row of the matrix."""
    return WIDER.get((backend, dtype), (K, ""))[0]


def error_in_eps(got, ref, *, scale=0.0) -> float:
    """Return the largest error of ``got`` in units of its dtype's eps, by the measure above.

    Parameters
    ----------
    got : NumPy array of the tested dtype
    ref : NumPy array of the same shape, float64
    scale : float
        For a gradient, the largest magnitude among the cotangents that were pulled back.
    """
    got, ref = np.asarray(got), np.asarray(ref)
    if got.shape != ref.shape:  # broadcasting would compare something else
        raise AssertionError(f"expected shape {ref.shape}, got {got.shape}")
    if ref.dtype != np.float64:
        raise AssertionError(f"a reference is float64, got {ref.dtype}")
    if got.dtype.name not in EPS:
        raise AssertionError(f"expected floating numbers, got {got.dtype}")
    if got.size == 0:
        raise AssertionError("an empty array proves nothing")
    if not np.all(np.isfinite(ref)):
        raise AssertionError("the reference is not finite")
    worst = float(np.max(np.abs(got.astype(np.float64) - ref)))
    scale = max(float(np.max(np.abs(ref))), float(scale))
    if worst == 0.0:
        return 0.0
    if scale == 0.0 or not np.isfinite(worst):
        return float("inf")
    return worst / (EPS[got.dtype.name] * scale)


def assert_close(got, ref, what, *, scale=0.0, k=K, record=None) -> float:
    """Check the measure, naming ``what`` was compared; return the error in eps.

    If ``record`` is given it is called with the error first, too large or not.
    """
    __tracebackhide__ = True
    try:
        error = error_in_eps(got, ref, scale=scale)
    except AssertionError as complaint:
        raise AssertionError(f"{what}: {complaint}") from None
    if record is not None:
        record(error)
    if not error <= k:
        raise AssertionError(f"{what}: off by {error:.3g} eps of {got.dtype}, allowed {k:g}")
    return error
