"""What tests of memory share: arrays to train on, and the memory that a call takes."""

import tracemalloc

import numpy as np

# Arrays of T·B·H numbers on the tape of each cell.
TAPE = {"elman": 1, "gru": 5, "lstm": 6}


def measure(function):
    """Return the result of a call, the bytes it holds, and the peak during the call."""
    tracemalloc.start()
    try:
        result = function()
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return result, held, peak


def inputs(model, steps, batch, dtype="float64"):
    """Return parameters, x and labels."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((steps, batch, model.input_size)).astype(dtype)
    targets = rng.integers(0, model.feature_size, (steps, batch))
    return model.init(seed=0, dtype=dtype), x, targets
