"""Exact gradients under a memory budget: what is kept, what is run again, and what that costs.

The tape of a forward pass grows with T. Under a budget, only some states are kept, and the backward
pass runs the steps between them again, segment by segment
(``_engine/gradient_checkpointing.py``). The gradients are those of the full tape: nothing is
approximated.

A budget is for the tape and for the working memory of the passes, including Python objects of the
size that NumPy's have. Inputs, outputs, their cotangents and the gradients come on top: they exist
in any case.

On a GPU the budget is for its memory, as CuPy's pool hands it out; time is cut into fewer chunks.

The time of a plan is an estimate: small networks spend most of it on calls from Python, large ones
on arithmetic, and which dominates depends on sizes and on the processor.
"""

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from ._arrays import checks as check
from ._arrays.scalars import counted
from ._engine.affine import GPU_LEAF, GPU_ROOM, GPU_SUMS_OPEN, LEAF
from ._engine.chunks import full_steps, most_rows
from ._engine.gradient_checkpointing import evaluations
from ._engine.run import GROUP_ROWS
from ._engine.setup import Segments
from ._executors.eager import pays
from .executors import explain
from .model import RNN

__all__ = ["Plan", "plan"]

MOST_SEGMENTS = 4096  # more would cost more to manage than to run
FIRST = 256 * 2**10  # bytes of Python objects that a first call looks up and caches
OBJECTS = 704  # bytes of Python objects that describe a chunk
KEPT = 160  # bytes of each array of a state that is kept, apart from its numbers
ARRAY = 120  # bytes of an array on the tape, apart from its numbers
LISTS = 16  # bytes of the lists that hold the arrays of a step
FORWARD = 0.36  # of the time of both passes: see benchmarks/memory_time.py
# Nanoseconds of both passes, measured with NumPy on one processor of 2023. Only their ratios count:
# how long a step is compared with the fixed costs of a chunk.
STEP, STEP_ARRAY = 30_000, 9_000  # calls of a step, and more for each array that it keeps
NUMBER, PRODUCT, READ = 15, 1 / 60, 0.06  # for each number kept, operation of a product, byte of W
CHUNK, CHUNK_BACK = 60_000, 180_000  # calls of a chunk, forwards and back
SUMS = 0.7  # for each byte of the gradients of the weights, to add those of a chunk


@dataclass(frozen=True)
class Plan:
    """How the passes keep a memory budget, and at what cost.

    Attributes
    ----------
    full_tape : int
        Bytes that `forward` keeps without a budget.
    full_peak : int
        Bytes that the passes hold at most without a budget, counted like ``peak``.
    peak : int
        Bytes that the passes hold at most, by estimate, beyond inputs, outputs and gradients. For a
        cell with many small arrays, Python may keep about 200 KiB more for itself.
    segments, checkpoints : int
        Number of segments of time, and of states kept between them.
    segment_rows, chunk_rows : int
        Rows (steps times sequences) of a segment, which is on the tape as a whole, and of a chunk,
        which is computed at one time.
    recompute : float
        How many times the forward pass is run again, on average over the segments.
    time : float
        Expected time of both passes as a multiple of that without a budget. On another processor
        or library it may be half of that, or twice: for small segments, Python's overhead counts
        more than arithmetic.
    model, steps, batch
        What the plan was made for: a pass over anything else refuses it.
    device : {"cpu", "cuda"}
        Where the arrays are.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(64, 256, cell="lstm")
    >>> print(prnn.memory.plan(model, steps=4096, batch=16, checkpoint_every=64))
    ... # doctest: +ELLIPSIS
    peak ... MiB of a full tape of 386.7 MiB: 64 segments of 1024 rows, 63 states kept, ...
    """

    full_tape: int
    full_peak: int
    peak: int
    segments: int
    checkpoints: int
    segment_rows: int
    chunk_rows: int
    recompute: float
    time: float
    model: RNN
    steps: int
    batch: int
    device: str = "cpu"

    @property
    def same_bits(self) -> bool:
        """Whether results have the same bits as without a budget.

        They do if time is cut in the same places, on every BLAS library that gives the same
        product the same bits twice: the products are then the same. Otherwise products have other
        shapes, may round differently, and results agree like any two correct ones. This
        applies to batches in which all sequences have all steps.
        """
        full = full_steps(_rows(self.model, self.device), self.batch)
        if self.segments == 1:
            return self.chunk_rows == min(full, self.steps) * self.batch
        return self.chunk_rows == full * self.batch and self.segment_rows % self.chunk_rows == 0

    @property
    def schedule(self) -> Segments:
        """How chunks are grouped into segments, for the network.

        Raises
        ------
        TypeError, ValueError
            If a number of the plan is not a valid size.
        """
        for name in ("segments", "segment_rows", "chunk_rows", "steps", "batch"):
            check.count(f"memory.{name}", getattr(self, name))
        check.integer("memory.checkpoints", self.checkpoints, least=0)
        return Segments(self.chunk_rows, self.segment_rows, self.checkpoints)

    def __str__(self) -> str:
        """Return the plan in one line."""
        return (
            f"peak {self.peak / 2**20:.1f} MiB of a full tape of {self.full_tape / 2**20:.1f} MiB: "
            f"{counted(self.segments, 'segment')} of {counted(self.segment_rows, 'row')}, "
            f"{counted(self.checkpoints, 'state')} kept, "
            f"{self.recompute:.2f} more forward passes, about {self.time:.2f} times the time, "
            f"{'the same bits' if self.same_bits else 'other rounding'}{self._hint}"
        )

    @property
    def _hint(self) -> str:
        """A remark about a plan that saves nothing, or ''."""
        if self.segments == 1 or self.peak < self.full_peak:
            return ""
        return f"; no budget would take less, {self.full_peak / 2**20:.1f} MiB, and be faster"


@check.named_options
def plan(
    model: RNN,
    steps: int,
    batch: int,
    *,
    memory: str | int | None = None,
    checkpoint_every: int | None = None,
    dtype: str = "float32",
    device: str = "cpu",
) -> Plan:
    """Plan the passes over a sequence.

    Parameters
    ----------
    model : RNN
    steps, batch : int
        T and B.
    memory : str or int, optional
        The budget: bytes, or a string such as ``"64 MiB"`` or ``"1.5 GB"``. The plan is the one
        that recomputes least.
    checkpoint_every : int, optional
        Instead of a budget: keep the state every so many steps, and run each step at most twice.
    dtype : str
        Name of the dtype of the arrays.
    device : {"cpu", "cuda"}
        Where the arrays are.

    Returns
    -------
    Plan
        Without either option, the plan of the full tape.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or no plan is that small; the message names the smallest.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(64, 256, cell="lstm")
    >>> plan = prnn.memory.plan(model, steps=4096, batch=16, memory="64 MiB")
    >>> plan.full_tape // 2**20, plan.peak <= 64 * 2**20, plan.recompute < 1
    (386, True, True)
    """
    if not isinstance(model, RNN):
        raise TypeError(f"model: expected an RNN, got {check.said(model)}")
    steps, batch = check.count("steps", steps), check.count("batch", batch)
    name = check.named_dtype("dtype", dtype)
    itemsize = _itemsize(name)
    device = check.choice("device", device, ("cpu", "cuda"))
    compiled = device == "cpu" and explain(model, name).startswith("compiled")
    costs = _Costs(model, steps, batch, itemsize, compiled=compiled, device=device)
    if memory is not None and checkpoint_every is not None:
        raise ValueError("memory, checkpoint_every: expected one of them, got both")
    if checkpoint_every is not None:
        every = min(check.count("checkpoint_every", checkpoint_every), steps)
        return costs.plan(every, -(-steps // every) - 1)
    if memory is None:
        return costs.plan(steps, 0)
    budget = check.size_in_bytes("memory", memory)
    possible = list(costs.within(budget))
    if not possible:
        least = min(costs.plan(segment, 0, chunk).peak for chunk, segment in costs.candidates())
        raise ValueError(
            f"memory: expected at least {least} bytes ({least / 2**20:.2f} MiB) for this network "
            f"on {steps} steps of {batch} sequences, got {check.said(memory)}"
        )
    # Of plans with about the same time, take the one with the largest chunks: it is sure to be as
    # fast, and results have the same bits if its chunks are as large as those of the full tape.
    good = 1.05 * min(p.time for p in possible)
    return max((p for p in possible if p.time <= good), key=lambda p: (p.chunk_rows, -p.time))


def _rows(model: RNN, device: str) -> int:
    """Return the rows of a chunk of time without a budget."""
    return most_rows(model.cell_object.gates * model.hidden_size, gpu=device == "cuda")


class _Costs:
    """Bytes per row and per state of a network, found by running one step of its cell."""

    def __init__(
        self, model: RNN, steps: int, batch: int, itemsize: int, *, compiled: bool, device: str
    ) -> None:
        self.model, self.steps, self.batch, self.device = model, steps, batch, device
        self.full = full_steps(_rows(model, device), batch)
        cell, hidden = model.cell_object, model.hidden_size
        params = {name: np.zeros(shape) for name, shape in model.parameter_shapes.items()}
        w = model.weights(params).layers[0][0]
        recurrence, ax = model.recurrences[0], np.zeros((1, cell.gates * hidden))
        zeros = tuple(np.zeros((1, shape[-1])) for shape in model.state_shapes(1))
        before, state = _on_tape(zeros), zeros
        for _ in range(2):  # the second step, since the first shares less with the state before
            state, residuals = recurrence.step(np, w, state, ax)
            tape = _on_tape(state[0]) | _on_tape(residuals)
            found, before = [tape[i] for i in tape.keys() - before.keys()], before | tape
        arrays = [one for one in found if not isinstance(one, tuple)]
        kept = sum(array.nbytes for array in arrays if array.base is None) // ax.itemsize
        _, rows = recurrence.step_vjp(np, w, residuals, zeros)
        features = model.input_size + 3 * hidden
        layers = 1 if model.bidirectional else model.num_layers  # of a stack
        self.stacks = 2 * model.num_layers if model.bidirectional else 1
        self.record = kept * itemsize * layers
        tuples = sum(sys.getsizeof(one) for one in found if isinstance(one, tuple))
        self.objects = (ARRAY * len(arrays) + tuples + LISTS) * layers  # of a step
        self.rows = ARRAY * (len(rows) + 2)  # of a step of a chunk, in the backward pass
        self.work = (2 * sum(row.shape[-1] for row in rows) + features) * itemsize
        self.step = 8 * cell.gates * hidden * itemsize * batch  # working memory of a step
        self.state = (
            sum(zero.size for zero in zeros) * batch * itemsize + KEPT * len(zeros)
        ) * layers
        shapes = model.parameter_shapes
        # The gradient of an embedding is made once, at the end.
        of_chunks = {n: s for n, s in shapes.items() if model.tied or n != "embedding.weight"}
        sizes = [math.prod(shape) * itemsize for shape in of_chunks.values()]
        self.weight, self.weights = max(sizes), sum(sizes)
        self.prepared = self._prepared(itemsize, compiled)
        if compiled and model.zoneout:  # numbers of which are then there for all units
            self.record += cell.states * hidden * itemsize * layers
        # A bidirectional layer holds its whole input, and returns the gradient of it.
        between = 2 * hidden * itemsize * steps * batch
        self.base = between * (model.num_layers + 1) if self.stacks > 1 else 0
        # Of all steps, in the dtype of sums: the features of a pool, their gradient, and the choice
        # of steps; embedded tokens, their gradient, and its rows in the order of tokens.
        wide, whole = max(itemsize, 4), 0
        if model.pool is not None:
            whole += (7 if model.pool == "max" else 4) * model.directions * model.recurrent_size
        if model.vocabulary_size is not None:
            whole += 5 * model.input_size
            self.base += wide * math.prod(shapes["embedding.weight"])  # while its gradient is made
        self.base += whole * wide * steps * batch
        self.layers = layers * self.stacks
        self.step_time = self.layers * (STEP + STEP_ARRAY * len(arrays) + NUMBER * kept * batch)
        count = self.weights // itemsize
        self.step_time += 6 * PRODUCT * count * batch + READ * self.weights

    def _prepared(self, itemsize: int, compiled: bool) -> int:
        """Bytes of the recurrent weights as the compiled loop reads them, forward and back.

        Or, for the loop in Python, transposed if that pays.
        """
        if not compiled and not pays(self.steps, self.batch):
            return 0
        model, lanes = self.model, 64 // itemsize if compiled else 1
        units = -(-model.hidden_size // lanes) * lanes
        one = model.cell_object.gates * units * units * itemsize
        return (2 if compiled else 1) * one * model.num_layers * model.directions

    def plan(self, segment: int, checkpoints: int, chunk: int | None = None) -> Plan:
        """Plan segments of ``segment`` steps, in chunks of ``chunk``, by default the largest."""
        segments = -(-self.steps // segment)
        chunk = min(segment, chunk or self.full)
        segment_rows, chunk_rows = segment * self.batch, chunk * self.batch
        sums = self._sums(chunk_rows)
        full = min(self.full, self.steps)
        # And there are those of a block of chunks, unless each chunk is a block.
        if chunk < full or segment % full or self.steps * self.batch > GROUP_ROWS:
            sums += self.weights
        peak = (
            FIRST
            + self.base
            + self.prepared
            + self.step
            + sums
            + self.work * chunk_rows
            + self.rows * chunk
            + OBJECTS * (self.steps // chunk)
        )
        tape = checkpoints * self.state + self.record * segment_rows + self.objects * segment
        peak += self.stacks * tape
        recompute = evaluations(segments, checkpoints) / segments
        whole = segment == self.steps and chunk == full
        return Plan(
            full_tape=self.stacks * self.steps * (self.record * self.batch + self.objects),
            full_peak=peak if whole else self.plan(self.steps, 0).peak,
            peak=peak,
            segments=segments,
            checkpoints=checkpoints,
            segment_rows=segment_rows,
            chunk_rows=chunk_rows,
            recompute=recompute,
            time=self.time(recompute, segments * -(-segment // chunk))
            / self.time(0.0, -(-self.steps // full)),
            model=self.model,
            steps=self.steps,
            batch=self.batch,
            device=self.device,
        )

    def _sums(self, rows: int) -> int:
        """Bytes of the gradients of a chunk of so many rows, while they are summed.

        That of a weight is summed by halves, with an open sum on each level, or on a GPU by leaves.
        """
        if self.device == "cuda":
            leaves = min(GPU_SUMS_OPEN, 1 + rows // GPU_LEAF)
            return self.weights + max(self.weight, min(self.weight * leaves, GPU_ROOM))
        return self.weights + self.weight * max(0, math.ceil(math.log2(rows / LEAF)))

    def time(self, recompute: float, chunks: int) -> float:
        """Estimate the nanoseconds of both passes, from how often the forward pass is run again."""
        of_chunk = CHUNK * (1.0 + recompute) + CHUNK_BACK
        of_steps = self.steps * self.step_time * (1.0 + FORWARD * recompute)
        return float(of_steps + chunks * (self.layers * of_chunk + SUMS * self.weights))

    def within(self, budget: int) -> Iterator[Plan]:
        """Yield plans that keep a budget, those with the largest chunks first."""
        for chunk, segment in self.candidates():
            left = budget - self.plan(segment, 0, chunk).peak
            if left >= 0:
                checkpoints = min(-(-self.steps // segment) - 1, left // (self.stacks * self.state))
                yield self.plan(segment, checkpoints, chunk)

    def candidates(self) -> Iterator[tuple[int, int]]:
        """Yield the steps of a chunk and the steps of a segment, which consists of whole chunks."""
        chunk = self.full
        while chunk:
            least = -(-self.steps // (MOST_SEGMENTS * chunk))  # chunks of a segment
            first = math.ceil(math.log(least, 1.15))
            segments = {self.steps}
            for i in count(first):
                if chunk * 1.15**i >= self.steps:
                    break
                segments.add(chunk * max(least, int(1.15**i)))
            yield from ((chunk, segment) for segment in sorted(segments))
            chunk //= 2


def _on_tape(part: Any) -> dict[int, Any]:
    """Return all arrays and tuples that a part of a tape keeps, with the bases of views."""
    if part is None:
        return {}
    found = {id(part): part}
    if isinstance(part, tuple):
        for inner in part:
            found |= _on_tape(inner)
    elif part.base is not None:
        found[id(part.base)] = part.base
    return found


def _itemsize(name: str) -> int:
    """Return the bytes of a number of a floating dtype."""
    return np.dtype("float16" if name == "bfloat16" else name).itemsize
