"""Sources of batches for training: shuffled sequences, or windows of one long sequence.

A source returns ``batch(step)`` for any step, from its arrays, its seed and nothing else. So the
position in the data *is* the step, and the random state *is* the seed: a resumed run sees the
same batches as one that was not interrupted.
"""

from .batch import Batch, Batches
from .chunked import Chunked
from .prefetched import Prefetched
from .shuffled import Shuffled
from .windows import Windows

__all__ = ["Batch", "Batches", "Chunked", "Prefetched", "Shuffled", "Windows"]
