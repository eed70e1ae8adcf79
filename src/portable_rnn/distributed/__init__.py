"""Training on several processes or machines: by Dask, or by an all-reduce.

Both compute the gradients of `portable_rnn.training.train` in parts, and are given to it as
``gradients``; the rest of a run is as without them. The parts of a batch are its *shards*. Their
gradients are weighted by the number of targets that count, and added in the order of the shards: so
their number determines a result to the last bit, and the number of workers does not.
"""

from .all_reduce import AllReduceGradients
from .dask import DaskGradients
from .shards import Shards

__all__ = ["AllReduceGradients", "DaskGradients", "Shards"]
