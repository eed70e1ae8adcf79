"""Central differences: ``(f(x + h) - f(x - h)) / 2h``, which need nothing but values of f.

The step balances the error of the formula, h², against rounding, eps / h: about ten digits of
sixteen are right, which finds a wrong formula and not a sloppy one.
"""

import numpy as np

__all__ = ["STEP", "gradient"]

STEP = 2.0**-17  # near the cube root of eps, and exact


def gradient(f, arrays, index):
    """Return the gradient of a scalar ``f(*arrays)`` by all entries of ``arrays[index]``."""
    moved = [np.array(a, dtype=np.float64) for a in arrays]
    found = np.empty(moved[index].shape)
    for entry in np.ndindex(*found.shape):
        here = moved[index][entry]
        moved[index][entry] = here + STEP
        above = float(f(*moved))
        moved[index][entry] = here - STEP
        found[entry] = (above - float(f(*moved))) / (2 * STEP)
        moved[index][entry] = here
    return found
