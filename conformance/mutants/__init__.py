"""Planted bugs: each a change of one line of the library, and the test that must notice.

The bugs are common mistakes, some of which were found in published code. test_mutants.py plants
them one by one; a suite that misses one would prove little. Each file has those of one part of the
library; those of cells, losses and optimizers are on the pages in `conformance`.
"""

from .. import cells, losses, optimizers
from ..mutant import Mutant
from .arrays import ARRAYS
from .attention import ATTENTION
from .combinators import COMBINATORS
from .compiled import COMPILED
from .ctc import CTC
from .cuda import CUDA
from .data import DATA
from .derivatives import DERIVATIVES
from .fused import FUSED
from .networks import NETWORKS
from .recursion import RECURSION
from .runs import RUNS
from .sequences import SEQUENCES
from .shown import SHOWN
from .training import TRAINING

__all__ = ["MUTANTS", "Mutant"]

MUTANTS = [
    *RECURSION,
    *NETWORKS,
    *SEQUENCES,
    *ATTENTION,
    *CTC,
    *cells.MUTANTS,
    *losses.MUTANTS,
    *optimizers.MUTANTS,
    *TRAINING,
    *RUNS,
    *COMBINATORS,
    *DERIVATIVES,
    *ARRAYS,
    *COMPILED,
    *CUDA,
    *DATA,
    *FUSED,
    *SHOWN,
]
