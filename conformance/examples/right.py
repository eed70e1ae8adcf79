"""NumPy under another name: ``pytest conformance --xp=conformance.examples.right`` passes."""

from numpy import *  # noqa: F403
from numpy import max, sum  # noqa: F401 (the star leaves out what hides a builtin)
