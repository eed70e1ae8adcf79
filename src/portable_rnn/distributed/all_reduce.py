"""Gradients of one program on several processes, added by an all-reduce."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from .._arrays import checks as check
from .._arrays.functions import accumulation_dtype, concatenate, reshape
from .._arrays.host import to_host
from .._arrays.namespace import Array, check_shaped, device_of, namespace_of
from .._calls.loss import Loss
from ..batches import Batch
from ..losses import softmax_cross_entropy
from ..model import RNN
from ..training.distributed import DistributedObjective, PartResult, Sums
from ..training.names import Metrics
from .parts import Work, add, part
from .shards import ToLoad, cut_batch

__all__ = ["AllReduceGradients"]

KEPT = "kept by its process"  # in place of a state


@check.named_options
class AllReduceGradients(DistributedObjective):
    """Gradients of the shards of a batch, computed by several processes that run one program.

    Give it to `portable_rnn.training.train` as ``gradients``, in every process with the same other
    arguments: the same initial parameters, batches, seed and options. Each process computes its
    shards, one all-reduce adds gradients, losses and metrics, and all take the same step. So
    clipping by ``max_norm``, logs, evaluations and early stopping are those of the whole batch, and
    the same in all processes.

    Parameters
    ----------
    model : RNN
    all_reduce : callable
        From an array of shape (N,), of the library and on the device of the parameters, to the sum
        of those of all processes: ``torch.distributed.all_reduce``, MPI's or NCCL's. The array may
        be written to. The result must be the same in all processes to the last bit, as it is with
        these.
    rank, size : int
        Number of this process, from 0, and of all processes.
    loss, metrics
        As for `DaskGradients`.
    shards : int, optional
        Into how many parts to cut a batch of arrays, by default ``size``. Process r computes
        the shards r, r + size, ...; each needs at least one.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Notes
    -----
    Only process 0 writes checkpoints; to resume, all read its file. Give callbacks that write, and
    ``progress``, to one process. A state that is carried from batch to batch stays in its process,
    and begins anew when a run is resumed.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> from portable_rnn.distributed import AllReduceGradients
    >>> model = prnn.RNN(input_size=1, hidden_size=8, output_size=2)
    >>> source = prnn.batches.Shuffled(np.ones((5, 6, 1)), np.zeros((5, 6), int), batch_size=3)
    >>> alone = AllReduceGradients(model, lambda vector: vector, rank=0, size=1)
    >>> params = model.init(seed=0, dtype="float64")
    >>> prnn.training.train(model, params, source, steps=4, gradients=alone).step
    4
    """

    def __init__(
        self,
        model: RNN,
        all_reduce: Callable[[Array], Array],
        *,
        rank: int,
        size: int,
        loss: Loss | str = softmax_cross_entropy,
        metrics: Metrics | None = None,
        shards: int | None = None,
    ) -> None:
        super().__init__(model, loss, metrics)
        check.function("all_reduce", all_reduce, "(vector) -> vector", None)
        self._all_reduce = all_reduce
        self._size = check.count("size", size)
        self._rank = check.integer("rank", rank, least=0, most=self._size - 1)
        self._shards = self._size if shards is None else check.count("shards", shards)
        self._work = Work(model, self.loss, self.metrics)
        self._held: dict[bool, list[Any]] = {}
        self.writes = self._rank == 0

    def _sums(
        self,
        params: Mapping[str, Array],
        batch: Batch,
        state: Any,
        seed: tuple[int, int] | None,
    ) -> Sums:
        """Return the sums over the shards of a batch; without a seed, for an evaluation."""
        step = seed[1] if seed else 0
        if isinstance(batch.x, ToLoad):
            shards, step = batch.x.shards, batch.x.step
            cut = [batch] * shards
        else:
            cut = cut_batch(self.model, batch, self._shards, fewer=False)
            shards = len(cut)
        if shards < self._size:
            raise ValueError(
                f"shards: expected one for each of {self._size} processes, got {shards}"
            )
        mine = range(self._rank, shards, self._size)
        held = None if state is None else self._held.get(seed is None)
        states = held or [None] * len(mine)
        work, key = self._work, None if seed is None else seed[0]
        sums = add(
            [
                part(work, params, cut[i], own, step, i, key)
                for i, own in zip(mine, states, strict=True)
            ]
        )
        self._held[seed is None] = [one.state for one in sums.parts]
        return self._reduced(params, sums, mine, shards)

    def _reduced(self, params: Mapping[str, Array], sums: Sums, mine: range, shards: int) -> Sums:
        """Return the sums over the shards of all processes."""
        name, first = next(iter(params.items()))
        xp, device = namespace_of(params=first), device_of(first)
        dtype = accumulation_dtype(xp, first.dtype)
        # The numbers of each shard are a row, of which all processes but one have zeros.
        rows = {i: _numbers(one) for i, one in zip(mine, sums.parts, strict=True)}
        width = len(rows[mine[0]])
        numbers = [x for i in range(shards) for x in rows.get(i, [0.0] * width)]
        flat = [reshape(xp, g, (math.prod(g.shape),)) for g in sums.grads.values()]
        given = concatenate(xp, [*flat, xp.asarray(numbers, dtype=dtype, device=device)])
        vector = self._all_reduce(given)
        like = xp.empty((sum(g.shape[0] for g in flat) + len(numbers),), dtype=dtype, device=device)
        check_shaped(
            "what all_reduce returned", vector, tuple(like.shape), f"params[{name!r}]", like
        )
        grads, start = {}, 0
        for key, g in sums.grads.items():
            size = math.prod(g.shape)
            grads[key] = reshape(xp, vector[start : start + size], tuple(g.shape))
            start += size
        read = to_host(vector[start:]).tolist()
        one = sums.parts[0]
        parts = [_part_of(read[i * width : (i + 1) * width], one) for i in range(shards)]
        return Sums(grads, parts)

    def _described(self) -> dict[str, Any]:
        """Return what determines a run besides its model, loss and data."""
        return {"shards": self._shards, "size": self._size}


def _numbers(one: PartResult) -> list[float]:
    """Return the numbers of a part; a mean of nothing is not added, but counts as nothing."""
    measured = [float(x) for array in one.measured.values() for x in array.tolist()]
    return [one.loss if one.counted else 0.0, one.counted, one.weight, *measured]


def _part_of(numbers: list[float], like: PartResult) -> PartResult:
    """Undo `_numbers`."""
    loss, count, weight, *rest = numbers
    measured, start = {}, 0
    for name, array in like.measured.items():
        size = len(array)
        measured[name] = (array * 0 + rest[start : start + size]).astype(array.dtype)
        start += size
    state = None if like.state is None else KEPT
    return PartResult(loss, count, weight, state, measured)
