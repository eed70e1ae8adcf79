"""Derivatives without subtraction: ``f'(x) = Im f(x + i·h) / h`` with h = 1e-30.

For analytic f the error is O(h²), far below rounding, so the same source that is
tested at float64 differentiates itself at complex128.
"""

import numpy as np

__all__ = ["STEP", "directional", "gradient"]

STEP = 1e-30


def directional(f, arrays, directions):
    """Return the derivative of ``f(*arrays)`` along ``directions``, one per array."""
    moved = [a + 1j * STEP * d for a, d in zip(arrays, directions, strict=True)]
    return np.imag(np.asarray(f(*moved))) / STEP


def gradient(f, arrays, index):
    """Return the gradient of a scalar ``f(*arrays)`` by all entries of ``arrays[index]``."""
    moved = [a.astype(np.complex128) for a in arrays]
    found = np.empty(arrays[index].shape)
    for entry in np.ndindex(*found.shape):
        here = moved[index][entry]
        moved[index][entry] = here + 1j * STEP
        found[entry] = np.imag(np.asarray(f(*moved))) / STEP
        moved[index][entry] = here
    return found
