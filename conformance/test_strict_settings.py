"""Libraries told to raise where they are silent: ordinary numbers give them no cause.

NumPy at overflow, underflow, division by zero and NaN; JAX at NaN, and at arrays of other ranks
together.
"""

import contextlib

import numpy as np
import pytest

from .everything import MODELS, calls

STRICT = ("numpy", "jax")
# Where each function takes seconds to compile: all code that is pointwise, and all kinds of masks.
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
    """Or the tests above could not fail."""
    zero = backend.put(np.zeros(2, dtype=np.float32))
    with strict(backend), pytest.raises(FloatingPointError):
        zero / zero
