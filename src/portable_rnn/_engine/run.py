"""Run a stack of layers through all of time, chunk after chunk, in one direction.

Under a memory budget time is cut into segments of chunks. The first run keeps everything of the
last segment and some of the states between segments; the backward pass runs the other segments
again (``_engine/gradient_checkpointing.py``). Without a budget, all of time is the last segment.
"""

from typing import Any, NamedTuple

from .._arrays.functions import copied
from .._arrays.namespace import Array, device_of
from .chunks import ROWS, Chunk, cut_into_chunks, write_chunk
from .gradient_checkpointing import initial_checkpoints, reverse_segments
from .recurrence import Weights, added
from .select import where_true
from .setup import Setup
from .stack import Stack, StackChunk, States, part

__all__ = ["GROUP_ROWS", "StackTape", "run_stack", "run_stack_vjp"]

# Rows of blocks whose gradients are added one after another. Longer sums are made of sums of this
# many, since rounding errors would otherwise grow with the number of blocks.
GROUP_ROWS = 64 * ROWS
NOTHING = Weights(None, None, own=None)  # type: ignore[arg-type]  # the gradients of no steps


class StackTape(NamedTuple):
    """What the backward pass needs of one stack; under a memory budget it can be used only once."""

    x: Array
    kept: dict[int, States]  # before some of the segments
    records: list[tuple[Any, ...]]  # of the last segment, by chunk and layer


def run_stack(s: Setup, stack: Stack, x: Array, states: States) -> tuple[Array, States, StackTape]:
    """Return outputs, final states, and the tape, which holds only ``x`` unless ``s.keep``."""
    xp, size, outputs = s.xp, (x.shape[0], x.shape[1]), None
    groups, light = _segments(s, x), s._replace(keep=False) if s.segments else s
    for w in stack.layers:
        s.executor.begin(w)
    checkpoints = (
        {0, *initial_checkpoints(len(groups), s.segments.checkpoints)} if s.segments else {0}
    )
    tape = StackTape(x, {} if groups or not s.keep else {0: states}, [])
    for number, segment in enumerate(groups):
        if s.keep and number in checkpoints:
            tape.kept[number] = states
        last = number == len(groups) - 1
        for chunk in segment:
            hidden, states, records = StackChunk(s if last else light, stack, x, chunk).run(states)
            y = s.executor.join(xp, hidden)
            if stack.readout is not None:
                y = stack.readout(xp, y)
            y = where_true(xp, part(s, s.mask, chunk), y)
            outputs = write_chunk(xp, outputs, y, chunk, size)
            if outputs is hidden and not s.executor.whole_sequence:  # a part of the record
                outputs = copied(xp, outputs)
            if s.keep and last:
                tape.records.append(records)
    if outputs is None:
        outputs = _zeros(s, x, stack)
    return outputs, states, tape


def run_stack_vjp(
    s: Setup, stack: Stack, tape: StackTape, d_outputs: Array | None, d_states: States
) -> tuple[Stack, Array | None, States]:
    """Return the cotangents of the parameters, of the input, and of the initial states."""
    xp, x, size = s.xp, tape.x, (tape.x.shape[0], tape.x.shape[1])
    d_x, block, groups = None, -1, _segments(s, x)
    # Gradients of a block, of a group of blocks, and of all. A block that a budget cuts into chunks
    # is summed first, and then needs no groups; any other block is one chunk.
    totals: list[Stack | None] = [None, None, None]
    blocks = [chunk.block for segment in groups for chunk in segment] if s.segments else []
    cut = len(set(blocks)) < len(blocks)
    together, level = 1 if cut else max(1, GROUP_ROWS // s.rows), 0 if cut else 1

    def run_segments(states: States, start: int, end: int) -> States:
        light = s._replace(keep=False)
        for chunk in (chunk for segment in groups[start:end] for chunk in segment):
            _, states, _ = StackChunk(light, stack, x, chunk).run(states)
        return states

    kept = tape.kept if s.segments else dict(tape.kept)
    checkpoints = s.segments.checkpoints if s.segments else 0
    for number, states in (
        reverse_segments(len(groups), checkpoints, kept, run_segments) if groups else ()
    ):
        last = number == len(groups) - 1
        records = _kept(s, tape) if last else _again(s, stack, x, groups[number], states)
        for chunk in reversed(groups[number]):
            if chunk.block != block:
                last_of_group = chunk.block // together != block // together
                _add_up(totals, 2 if last_of_group else 1)
                block = chunk.block
            d_y = None
            if d_outputs is not None:
                d_y = where_true(xp, part(s, s.mask, chunk), chunk.of(xp, d_outputs))
            totals[level], d_x_part, d_states = StackChunk(s, stack, x, chunk).vjp(
                records.pop(), d_y, d_states, totals[level]
            )
            if s.grad_x:
                d_x = write_chunk(xp, d_x, d_x_part, chunk, size)
            del d_x_part  # before the next chunk allocates its own
    _add_up(totals, 2)
    d_stack = totals[2]
    if d_stack is None:  # no sequence has a step
        d_stack = Stack((NOTHING,) * len(stack.layers))
        d_x = xp.zeros_like(x) if s.grad_x else None
    return d_stack, d_x, d_states


def _add_up(totals: list[Stack | None], levels: int) -> None:
    """Add the lower sums to those above."""
    for i in range(levels):
        totals[i], totals[i + 1] = None, added(totals[i + 1], totals[i])


def _kept(s: Setup, tape: StackTape) -> list[tuple[Any, ...]]:
    """Return the records of the last segment; under a memory budget, remove them from the tape."""
    found = list(tape.records)
    if s.segments:
        tape.records.clear()
    return found


def _again(
    s: Setup, stack: Stack, x: Array, segment: list[Chunk], states: States
) -> list[tuple[Any, ...]]:
    """Run a segment again; return its records."""
    found = []
    for chunk in segment:
        _, states, records = StackChunk(s, stack, x, chunk).run(states)
        found.append(records)
    return found


def _segments(s: Setup, x: Array) -> list[list[Chunk]]:
    """Return the chunks of time, by segment, in the order in which they are run."""
    found = cut_into_chunks(s, x.shape[0], x.shape[1])
    return [segment[::-1] for segment in reversed(found)] if s.reverse else found


def _zeros(s: Setup, x: Array, stack: Stack) -> Array:
    """Return the outputs of a batch in which no sequence has a step."""
    last = stack.layers[-1].hh.weight
    size = last.shape[1] if stack.readout is None else stack.readout.weight.shape[0]
    return s.xp.zeros((*x.shape[:2], size), dtype=x.dtype, device=device_of(x))
