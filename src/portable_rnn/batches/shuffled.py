"""Independent sequences in a new order every epoch, from arrays in memory."""

import math
from typing import Any

import numpy as np

from .._arrays import checks as check
from .._arrays.devices import device_context
from .._arrays.functions import take
from .._arrays.namespace import Array, device_of, namespace_of
from .._calls.valid_steps import read_lengths
from .batch import Batch, check_arrays, sequences_of

__all__ = ["Shuffled"]


@check.named_options
class Shuffled:
    """Independent sequences, in a new order every epoch.

    Parameters
    ----------
    x : array, shape (T, N, I) or of tokens (T, N), or with ``batch_axis=0`` N first
    targets : array with the axes of N sequences and T steps; or (N,) or (N, O), for each one target
        With as many steps as sequences and classes, (N, N) is taken for the former, unless there
        are weights (N,).
    batch_size : int
        The last batch of an epoch holds the remaining sequences.
    weights : array, shape (T, N) or (N, T), or (N,) with one target for each, optional
        Weights of steps, or of sequences, passed to the loss.
    lengths : sequence of N ints, or integer array on the host, optional
        How many steps each sequence has; `portable_rnn.ragged.pack` returns them.
    seed : int
    batch_axis : int
        1 for time-major sequences, 0 with ``batch_first``. An attribute as well.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.batches import Shuffled
    >>> source = Shuffled(np.zeros((5, 10, 3)), np.zeros((5, 10)), batch_size=4)
    >>> [source.batch(step).x.shape for step in range(source.steps_per_epoch)]
    [(5, 4, 3), (5, 4, 3), (5, 2, 3)]
    """

    def __init__(
        self,
        x: Array,
        targets: Array,
        *,
        batch_size: int,
        weights: Array | None = None,
        lengths: Any = None,
        seed: int = 0,
        batch_axis: int = 1,
    ) -> None:
        self.batch_axis = check.integer("batch_axis", batch_axis, least=0, most=1)
        given = {"x": x, "targets": targets} | ({} if weights is None else {"weights": weights})
        check_arrays(given)
        count, self._batch_size, self._axes = sequences_of(given, batch_size, self.batch_axis)
        self._lengths: np.ndarray[Any, Any] | None = None
        if lengths is not None:
            self._lengths = read_lengths(lengths, x.shape[1 - self.batch_axis], count)
            if self._lengths is None:
                raise TypeError("lengths: expected a list or an array on the host, got a device's")
        self._arrays, self._count = tuple(given.values()), count
        self._seed = check.integer("seed", seed, least=0)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch, the last one perhaps smaller."""
        return math.ceil(self._count / self._batch_size)

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, counted from 0.

        Raises
        ------
        TypeError, ValueError
            If ``step`` is not an int of at least 0.
        """
        epoch, index = divmod(check.integer("step", step, least=0), self.steps_per_epoch)
        order = np.random.default_rng([self._seed, epoch]).permutation(self._count)
        chosen = order[index * self._batch_size : (index + 1) * self._batch_size]
        # int32: some devices have no 64-bit types, and no batch has that many sequences.
        first = self._arrays[0]
        xp = namespace_of(x=first)
        arrays = zip(self._arrays, self._axes, strict=False)  # perhaps without weights
        with device_context(first):
            picked = xp.asarray(chosen.astype(np.int32), device=device_of(first))
            batch = Batch(*(take(xp, a, picked, axis) for a, axis in arrays))
        return batch if self._lengths is None else batch._replace(lengths=self._lengths[chosen])

    def describe(self) -> dict[str, Any]:
        """Return kind, number of sequences, batch size and seed."""
        return {
            "kind": "shuffled",
            "sequences": self._count,
            "batch_size": self._batch_size,
            "seed": self._seed,
        }
