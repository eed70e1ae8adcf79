"""Libraries set to raise floating-point errors: ordinary numbers cause none.

NumPy raises at overflow, underflow, division by zero and NaN; JAX at NaN, and where arrays of
different ranks are combined.
"""

import contextlib

import numpy as np
import pytest

from .everything import MODELS, calls

STRICT = ("numpy", "jax")
# Each function takes seconds to compile there: all pointwise code, and all kinds of masks.
ON_JAX = (None, "gru", "onnx_lstm", "layer_norm_lstm", "deep", "dropout", "zoneout")


def dtypes(row):
    return row.dtypes if row.library == "numpy" else ("float32",)


@contextlib.contextmanager
def strict(backend):
    if backend.library == "numpy":
        with np.errstate(all="raise"):
            yield
    else:
        import jax

        with jax.debug_nans(True), jax.numpy_rank_promotion("raise"):
            yield


@pytest.mark.rows(*STRICT)
@pytest.mark.when_named
@pytest.mark.parametrize("model", [None, *MODELS], ids=str)
def test_no_function_makes_a_number_that_raises(backend, dtype, model):
    if backend.slow and model not in ON_JAX:
        pytest.skip("not run: another model runs the same code")
    with strict(backend):
        for name, call in calls(model, dtype, backend.put).items():
            try:
                call()
            except (FloatingPointError, ValueError) as error:
                raise AssertionError(f"{name} of {model}, {dtype}: {error}") from error


@pytest.mark.rows(*STRICT)
def test_the_settings_hold_where_the_library_does_not_compute(backend):
    """Otherwise the test above could not fail."""
    zero = backend.put(np.zeros(2, dtype=np.float32))
    with strict(backend), pytest.raises(FloatingPointError):
        zero / zero
