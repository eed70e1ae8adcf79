"""One direction through all of time: a column of layers, stretch after stretch.

Under a memory budget time is cut into units of stretches. The first run keeps some of the states
between them, and the way back runs each unit again (see ``_engine/checkpointing.py``). Without
one, all of time is the last unit, of which everything is kept.
"""

from typing import Any, NamedTuple

from .._arrays.namespace import Array, device_of
from .checkpointing import backwards, first_places
from .chunks import Stretch, cut, place
from .recurrence import Weights
from .select import where_true
from .setup import Setup
from .stack import Column, States, advance, part, retreat

__all__ = ["Passage", "run_column", "run_column_vjp"]

NOTHING = Weights(None, None, own=None)  # type: ignore[arg-type]  # the gradients of no steps


class Passage(NamedTuple):
    """What the backward pass needs of one column. Under a memory budget it is used up by it."""

    x: Array
    kept: dict[int, States]  # before some of the units
    records: list[tuple[Any, ...]]  # of the last unit: of each stretch, of each layer


def run_column(s: Setup, column: Column, x: Array, states: States) -> tuple[Array, States, Passage]:
    """Return outputs, final states, and, if they are to be kept, what the backward pass needs."""
    xp, size, outputs = s.xp, (x.shape[0], x.shape[1]), None
    groups, light = _units(s, x), s._replace(keep=False) if s.units else s
    places = {0, *first_places(len(groups), s.units.slots)} if s.units else {0}
    passage = Passage(x, {} if groups or not s.keep else {0: states}, [])
    for number, unit in enumerate(groups):
        if s.keep and number in places:
            passage.kept[number] = states
        last = number == len(groups) - 1
        for stretch in unit:
            hidden, states, records = advance(s if last else light, column, x, states, stretch)
            y = s.executor.join(xp, hidden)
            if column.readout is not None:
                y = column.readout(xp, y)
            y = where_true(xp, part(s, s.mask, stretch), y)
            outputs = place(xp, outputs, y, stretch, size)
            if s.keep and last:
                passage.records.append(records)
    if outputs is None:
        outputs = _zeros(s, x, column)
    return outputs, states, passage


def run_column_vjp(
    s: Setup, column: Column, passage: Passage, d_outputs: Array | None, d_states: States
) -> tuple[Column, Array | None, States]:
    """Return the cotangents of the parameters, of the input, and of the initial states."""
    xp, x, size = s.xp, passage.x, (passage.x.shape[0], passage.x.shape[1])
    d_column: Column | None = None
    d_block, d_x, block, groups = d_column, None, -1, _units(s, x)

    def advance_units(states: States, start: int, end: int) -> States:
        light = s._replace(keep=False)
        for stretch in (stretch for unit in groups[start:end] for stretch in unit):
            _, states, _ = advance(light, column, x, states, stretch)
        return states

    kept = passage.kept if s.units else dict(passage.kept)
    slots = s.units.slots if s.units else 0
    for number, states in backwards(len(groups), slots, kept, advance_units) if groups else ():
        last = number == len(groups) - 1
        records = _kept(s, passage) if last else _again(s, column, x, groups[number], states)
        for stretch in reversed(groups[number]):
            if stretch.block != block:
                d_column, d_block, block = _plus(d_column, d_block), None, stretch.block
            d_y = None
            if d_outputs is not None:
                d_y = where_true(xp, part(s, s.mask, stretch), stretch.of(xp, d_outputs))
            d_part, d_x_part, d_states = retreat(
                s, column, x, records.pop(), d_y, d_states, stretch
            )
            d_block = _plus(d_block, d_part)
            if s.grad_x:
                d_x = place(xp, d_x, d_x_part, stretch, size)
            del d_part, d_x_part  # before the next stretch makes its own
    d_column = _plus(d_column, d_block)
    if d_column is None:  # no sequence has a step
        d_column = Column((NOTHING,) * len(column.layers))
        d_x = xp.zeros_like(x) if s.grad_x else None
    return d_column, d_x, d_states


def _kept(s: Setup, passage: Passage) -> list[tuple[Any, ...]]:
    """Return the records of the last unit; under a memory budget they are used up."""
    found = list(passage.records)
    if s.units:
        passage.records.clear()
    return found


def _again(
    s: Setup, column: Column, x: Array, unit: list[Stretch], states: States
) -> list[tuple[Any, ...]]:
    """Run a unit again; return its records."""
    found = []
    for stretch in unit:
        _, states, records = advance(s, column, x, states, stretch)
        found.append(records)
    return found


def _units(s: Setup, x: Array) -> list[list[Stretch]]:
    """Return the stretches of time, by unit, in the order in which they are walked."""
    found = cut(s, x.shape[0], x.shape[1])
    return [unit[::-1] for unit in reversed(found)] if s.reverse else found


def _zeros(s: Setup, x: Array, column: Column) -> Array:
    """Return the outputs of a batch in which no sequence has a step."""
    last = column.layers[-1].hh.weight
    size = last.shape[1] if column.readout is None else column.readout.weight.shape[0]
    return s.xp.zeros((*x.shape[:2], size), dtype=x.dtype, device=device_of(x))


def _plus(total: Any, part: Any) -> Any:
    """Add a tree of new arrays to another, in place where arrays can be written; None is zero."""
    if total is None or part is None:
        return part if total is None else total
    if isinstance(total, tuple):
        added = map(_plus, total, part)
        return type(total)(*added) if hasattr(total, "_fields") else tuple(added)
    total += part
    return total
