"""NumPy with a tanh of six digits: the suite must say so, and where."""

import numpy
from numpy import *  # noqa: F403
from numpy import max, sum  # noqa: F401 (the star leaves out what hides a builtin)


def tanh(a):  # type: ignore[no-redef]
    """Return the hyperbolic tangent, wrong by a part in a million."""
    return numpy.tanh(a) * (1 + 1e-6)
