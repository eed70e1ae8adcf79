"""Batches in shards: loaded where they are used, or cut from a batch of arrays."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from .._arrays import checks as check
from ..batches import Batch, Batches
from ..model import RNN

__all__ = ["Load", "Shards", "ToLoad", "cut_batch"]

Load = Callable[[int, int], Batch]


@dataclass(frozen=True)
class ToLoad:
    """The shards of a step, not loaded yet: ``x`` of the batches of `Shards`."""

    in_shards = True  # by which `train` tells it from an array
    load: Load
    shards: int
    carry: bool
    step: int

    def batch(self, shard: int, *, later: int = 0) -> Batch:
        """Load a shard, of this step or a later one."""
        batch = self.load(self.step + later, shard)
        if not isinstance(batch, Batch):
            raise TypeError(f"load: expected it to return a Batch, got {check.said(batch)}")
        if not check.flag("batch.fresh", batch.fresh) and not self.carry:
            raise ValueError("load: expected batches with fresh=True, or Shards(carry=True)")
        return batch


@check.named_options
class Shards:
    """Batches whose shards are loaded by the workers that use them.

    Only `DaskGradients` and `AllReduceGradients` take them.

    Parameters
    ----------
    load : callable ``(step, shard) -> Batch``
        It is sent to the workers. What it returns must depend on its arguments alone, so that a
        shard can be loaded again, by another worker. The library and device of its arrays are those
        of the computation: return CuPy's for the GPU of the worker.
    shards : int
        How many each batch has. More than one for each worker lets a cluster grow.
    steps_per_epoch : int, optional
        Number of batches in which everything is seen once; for validation, and for ``epochs``.
    carry : bool
        Whether a state is carried from a batch to the next, in each shard, where ``fresh`` is
        false. It then travels with the parameters.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.batches import Batch
    >>> from portable_rnn.distributed import Shards
    >>> def load(step, shard):
    ...     x = np.random.default_rng([step, shard]).normal(size=(5, 2, 3))
    ...     return Batch(x, x[:, :, :1])
    >>> source = Shards(load, 4)
    >>> source.describe()
    {'kind': 'shards', 'shards': 4}
    """

    def __init__(
        self, load: Load, shards: int, *, steps_per_epoch: int | None = None, carry: bool = False
    ) -> None:
        check.function("load", load, "(step, shard) -> Batch", 0, 0)
        self._load, self.shards = load, check.count("shards", shards)
        self._carry = check.flag("carry", carry)
        if steps_per_epoch is not None:
            steps_per_epoch = check.count("steps_per_epoch", steps_per_epoch)
        self.steps_per_epoch = steps_per_epoch

    @classmethod
    def from_sources(
        cls,
        make: Callable[[int], Batches],
        shards: int,
        *,
        steps_per_epoch: int | None = None,
        carry: bool = False,
    ) -> "Shards":
        """Return shards of which each has a source of its own.

        Parameters
        ----------
        make : callable ``(shard) -> source``
            Makes a source such as `portable_rnn.batches.Shuffled`, once on each worker that needs
            it: of a file opened by ``np.load(..., mmap_mode="r")``, only what a batch needs is
            read.
        shards, steps_per_epoch, carry
            As for the class.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit; the message names it.
        """
        check.function("make", make, "(shard) -> source", 0)
        return cls(_Sources(make), shards, steps_per_epoch=steps_per_epoch, carry=carry)

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, counted from 0, whose shards are not loaded yet.

        Raises
        ------
        TypeError, ValueError
            If ``step`` is not an int of at least 0.
        """
        step = check.integer("step", step, least=0)
        whole: Any = ToLoad(self._load, self.shards, self._carry, step)
        return Batch(whole, None, fresh=not self._carry)

    def describe(self) -> dict[str, Any]:
        """Return kind and number of shards; a checkpoint names ``load`` too."""
        return {"kind": "shards", "shards": self.shards}


class _Sources:
    """Loads shards from sources that are made where they are first needed."""

    def __init__(self, make: Callable[[int], Batches]) -> None:
        self._make = make
        self._held: dict[int, Batches] = {}
        self.__qualname__ = getattr(make, "__qualname__", type(make).__qualname__)

    def __call__(self, step: int, shard: int) -> Batch:
        if shard not in self._held:
            self._held[shard] = self._make(shard)
        return self._held[shard].batch(step)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_held": {}}


def cut_batch(model: RNN, batch: Batch, shards: int, *, fewer: bool = False) -> list[Batch]:
    """Cut a batch of arrays into shards, of as equal numbers of sequences as possible.

    If there are fewer sequences, that is an error, or with ``fewer`` each is a shard.

    Raises
    ------
    TypeError, ValueError
        If it cannot be cut.
    """
    x, targets = batch.x, batch.targets
    tokens = model.vocabulary_size is not None
    if x.ndim != (2 if tokens else 3):
        raise ValueError(f"x: expected a batch of sequences, got shape {tuple(x.shape)}")
    axis = 0 if model.batch_first else 1
    count = x.shape[axis]
    shards = min(shards, count) if fewer else shards
    if not 1 <= shards <= count:
        raise ValueError(f"shards: expected at most the {count} sequences of a batch, got {shards}")
    shape = tuple(getattr(targets, "shape", ()))
    # As in `Shuffled`: targets of whole sequences have no axis of time.
    whole = shape[:1] == (count,) and shape[:2] != tuple(x.shape[:2])
    of_targets = 0 if whole else axis
    if len(shape) <= of_targets or shape[of_targets] != count:
        raise ValueError(f"targets: expected {count} along axis {of_targets}, got shape {shape}")
    ends = [count * i // shards for i in range(shards + 1)]
    weights, lengths = batch.weights, batch.lengths
    return [
        Batch(
            _slice(x, axis, a, b),
            _slice(targets, of_targets, a, b),
            None if weights is None else _slice(weights, min(axis, weights.ndim - 1), a, b),
            batch.fresh,
            None if lengths is None else lengths[a:b],
        )
        for a, b in pairwise(ends)
    ]


def _slice(array: Any, axis: int, a: int, b: int) -> Any:
    return array[(slice(None),) * axis + (slice(a, b), ...)]
