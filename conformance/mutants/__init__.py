"""Planted bugs: each a change of one line of the library, and the test that must notice.

The mistakes are those that people make, and some that published code has been found to contain. A
suite that lets one live would prove little; test_mutants.py plants them one by one. Each file has
those of one part of the library; those of cells, losses and optimizers stand with what
these are held to.
"""

from .. import cells, losses, optimizers
from ..mutant import Mutant
from .arrays import ARRAYS
from .compiled import COMPILED
from .derivatives import DERIVATIVES
from .networks import NETWORKS
from .recursion import RECURSION
from .sequences import SEQUENCES
from .training import TRAINING

__all__ = ["MUTANTS", "Mutant"]

MUTANTS = [
    *RECURSION,
    *NETWORKS,
    *SEQUENCES,
    *cells.MUTANTS,
    *losses.MUTANTS,
    *optimizers.MUTANTS,
    *TRAINING,
    *DERIVATIVES,
    *ARRAYS,
    *COMPILED,
]
