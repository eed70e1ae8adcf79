"""Networks of layers: stacked, in both directions, with a readout, over sequences of any length.

A `Column` of layers is walked in one direction: stretch after stretch of time, and within one
stretch layer after layer, so that what lies between two layers is never there for all of time. A
network of one direction is one column. In one of two directions every layer has to have seen all of
time before the next can start: it is two columns of one layer each for each layer, and the readout
of both halves, ``o = V [h, h_reverse] + c``, is the sum of a readout of each.

Under a memory budget time is cut into units of stretches. The first run keeps some of the states
between them, and the way back runs each unit again (see :mod:`portable_rnn.recompute`). Without
one, all of time is the last unit, of which everything is kept.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

from ._namespace import Array, Namespace, device_of
from .affine import SUMS, Products, affine, affine_vjp_x
from .bptt import Options, Record, Weights, layer, layer_vjp
from .cells import Cell, State
from .recompute import backwards, first_places
from .scan import Sequence, join
from .select import where_true
from .stretches import Stretch, Units, cut, place

__all__ = ["Column", "Parameters", "Passage", "Walk", "run", "run_vjp"]

States: TypeAlias = tuple[State, ...]  # of one layer after another


class Parameters(NamedTuple):
    """Everything that is learned: by layer and direction, and the readout."""

    layers: tuple[tuple[Weights, ...], ...]
    readout_weight: Array | None  # (O, D·H); V of the book
    readout_bias: Array | None  # (O,); c


class Column(NamedTuple):
    """Layers on one another, walked in one direction; perhaps with a readout on top."""

    layers: tuple[Weights, ...]
    readout_weight: Array | None = None
    readout_bias: Array | None = None


class Walk(NamedTuple):
    """How a network goes through its input; what is per layer is in the order of the states."""

    stacked: bool = False
    widths: tuple[int, ...] | None = None  # sequences at each step, falling
    order: Array | None = None  # (B,); which sequences they are (see portable_rnn.stretches)
    inverse: Array | None = None  # (B,)
    mask: Array | None = None  # (T, B, 1); the steps that there are
    between: tuple[Array, ...] = ()  # (T, B, D·H); factors of the input of each layer but the first
    recurrent: tuple[Array, ...] = ()  # (B, H); see `Options`
    update: tuple[tuple[Array, ...], ...] = ()  # see `Options`
    reverse: bool = False
    units: Units | None = None  # under a memory budget
    products: Products = SUMS  # see `Options`


class Passage(NamedTuple):
    """What the backward pass needs of one column. Under a memory budget it is used up by it."""

    x: Array
    kept: dict[int, States]  # before some of the units
    records: list[tuple[Record, ...]]  # of the last unit: of each stretch, of each layer


# ------------------------------------------------------------------------ both directions


def run(
    xp: Namespace, cell: Cell, p: Parameters, x: Array, states: States, walk: Walk, *, keep: bool
) -> tuple[Array, States, tuple[Passage, ...]]:
    """Return outputs, final states, and, if they are to be kept, what the backward pass needs."""
    if len(p.layers[0]) == 1:
        y, states, passage = _run(xp, cell, _whole(p), x, states, walk, keep=keep)
        return y, states, (passage,)
    passages: list[Passage] = []
    after: list[State] = []
    for number, columns in enumerate(_columns(p)):
        if number and walk.between:
            x = x * walk.between[number - 1]
        halves = []
        for column, (i, one) in zip(columns, _walks(walk, number), strict=True):
            y, state, passage = _run(xp, cell, column, x, states[i : i + 1], one, keep=keep)
            halves.append(y)
            after += state
            passages.append(passage)
        summed = columns[0].readout_weight is not None
        x = halves[0] + halves[1] if summed else xp.concat(halves, axis=2)
    return x, tuple(after), tuple(passages)


def run_vjp(
    xp: Namespace,
    cell: Cell,
    p: Parameters,
    passages: tuple[Passage, ...],
    d_outputs: Array | None,
    d_states: States,
    walk: Walk,
    *,
    grad_x: bool,
) -> tuple[Parameters, Array | None, States]:
    """Return the cotangents of the parameters, of the input, and of the initial states."""
    if len(p.layers[0]) == 1:
        d_column, d_x, d_states = _run_vjp(
            xp, cell, _whole(p), passages[0], d_outputs, d_states, walk, grad_x=grad_x
        )
        layers = tuple((w,) for w in d_column.layers)
        return Parameters(layers, d_column.readout_weight, d_column.readout_bias), d_x, d_states
    d_layers: list[tuple[Weights, ...]] = []
    d_before: list[State] = []
    d_v = d_c = None
    d_y = d_outputs
    for number, columns in reversed(list(enumerate(_columns(p)))):
        found = []
        for half, (column, (i, one)) in enumerate(zip(columns, _walks(walk, number), strict=True)):
            d_half = d_y
            if d_y is not None and column.readout_weight is None:
                size = d_y.shape[2] // 2
                d_half = d_y[:, :, half * size : (half + 1) * size]
            passage, d_state, wanted = passages[i], d_states[i : i + 1], grad_x or number > 0
            found.append(_run_vjp(xp, cell, column, passage, d_half, d_state, one, grad_x=wanted))
        (d_one, d_y, d_first), (d_other, d_y_other, d_second) = found
        if d_y is not None:
            d_y = d_y + d_y_other
            if number and walk.between:
                d_y = d_y * walk.between[number - 1]
        if d_one.readout_weight is not None:
            d_v = walk.products.beside(xp, d_one.readout_weight, d_other.readout_weight)
            d_c = d_one.readout_bias
        d_layers.insert(0, (*d_one.layers, *d_other.layers))
        d_before = [*d_first, *d_second, *d_before]
    return Parameters(tuple(d_layers), d_v, d_c), d_y, tuple(d_before)


def _whole(p: Parameters) -> Column:
    """Return a network of one direction as one column."""
    return Column(tuple(w for (w,) in p.layers), p.readout_weight, p.readout_bias)


def _columns(p: Parameters) -> list[tuple[Column, Column]]:
    """Return a network of two directions as pairs of columns of one layer each."""
    pairs = [(Column((one,)), Column((other,))) for one, other in p.layers]
    if p.readout_weight is not None:
        size = p.readout_weight.shape[1] // 2
        one, other = p.layers[-1]
        v = p.readout_weight
        pairs[-1] = (Column((one,), v[:, :size], p.readout_bias), Column((other,), v[:, size:]))
    return pairs


def _walks(walk: Walk, number: int) -> Iterable[tuple[int, Walk]]:
    """Return for both directions of a layer where its state is, and how it walks."""
    for i, reverse in ((2 * number, False), (2 * number + 1, True)):
        yield (
            i,
            walk._replace(
                between=(),
                recurrent=walk.recurrent[i : i + 1],
                update=walk.update[i : i + 1],
                reverse=reverse,
            ),
        )


# -------------------------------------------------------------------------- one direction


def _run(
    xp: Namespace, cell: Cell, column: Column, x: Array, states: States, walk: Walk, *, keep: bool
) -> tuple[Array, States, Passage]:
    (steps, batch), outputs = x.shape[:2], None
    groups = _units(xp, x, walk)
    places = {0, *first_places(len(groups), walk.units.slots if walk.units else 0)}
    passage = Passage(x, {} if groups or not keep else {0: states}, [])
    for number, unit in enumerate(groups):
        last = number == len(groups) - 1
        if keep and number in places:
            passage.kept[number] = states
        for stretch in unit:
            hidden, states, records = _advance(
                xp, cell, column, x, states, stretch, walk, keep=keep and last
            )
            y = join(xp, hidden)
            if column.readout_weight is not None:
                y = affine(xp, y, column.readout_weight, column.readout_bias)
            y = where_true(xp, _part(xp, walk.mask, stretch), y)
            outputs = place(xp, outputs, y, stretch, steps, batch)
            if records:
                passage.records.append(records)
    if outputs is None:
        outputs = _zeros(xp, x, column.layers[-1].weight_hh, column.readout_weight)
    return outputs, states, passage


def _run_vjp(
    xp: Namespace,
    cell: Cell,
    column: Column,
    passage: Passage,
    d_outputs: Array | None,
    d_states: States,
    walk: Walk,
    *,
    grad_x: bool,
) -> tuple[Column, Array | None, States]:
    x, (steps, batch) = passage.x, passage.x.shape[:2]
    d_column = d_block = Column(tuple(Weights(None, None, None, None) for _ in column.layers))
    nothing, d_x, block = d_block, None, -1
    groups = _units(xp, x, walk)

    def advance(states: States, start: int, end: int) -> States:
        for stretch in (stretch for unit in groups[start:end] for stretch in unit):
            _, states, _ = _advance(xp, cell, column, x, states, stretch, walk, keep=False)
        return states

    def records_of(unit: list[Stretch], states: States) -> list[tuple[Record, ...]]:
        if unit is groups[-1]:
            found = list(passage.records)
            if walk.units:
                passage.records.clear()
            return found
        found = []
        for stretch in unit:
            _, states, records = _advance(xp, cell, column, x, states, stretch, walk, keep=True)
            found.append(records)
        return found

    kept = passage.kept if walk.units else dict(passage.kept)
    slots = walk.units.slots if walk.units else 0
    for number, states in backwards(len(groups), slots, kept, advance) if groups else ():
        unit = groups[number]
        records = records_of(unit, states)
        for stretch in reversed(unit):
            if stretch.block != block:
                d_column, d_block, block = _plus(d_column, d_block), nothing, stretch.block
            d_y = None
            if d_outputs is not None:
                d_y = where_true(xp, _part(xp, walk.mask, stretch), stretch.of(xp, d_outputs))
            d_part, d_x_part, d_states = _retreat(
                xp, cell, column, x, records.pop(), d_y, d_states, stretch, walk, grad_x=grad_x
            )
            d_block = _plus(d_block, d_part)
            if grad_x:
                d_x = place(xp, d_x, d_x_part, stretch, steps, batch)
            del d_part, d_x_part  # before the next stretch makes its own
    if grad_x and d_x is None:
        d_x = xp.zeros_like(x)
    return _plus(d_column, d_block), d_x, d_states


def _advance(
    xp: Namespace,
    cell: Cell,
    column: Column,
    x: Array,
    states: States,
    stretch: Stretch,
    walk: Walk,
    *,
    keep: bool,
) -> tuple[Sequence, States, tuple[Record, ...]]:
    """Take all layers through one stretch; return the hidden states of the last."""
    after: list[State] = []
    records: list[Record] = []
    hidden, y = None, _input(xp, x, stretch, walk)
    for number, w in enumerate(column.layers):
        if number:
            y = join(xp, hidden)
            if walk.between:
                y = y * stretch.of(xp, walk.between[number - 1])
        state = _narrow(states[number], stretch.width)
        options = _options(xp, cell, stretch, walk, number)
        hidden, state, record = layer(xp, cell, w, y, state, options, keep=keep)
        after.append(_widen(xp, state, states[number], stretch.width))
        if record is not None:
            records.append(record)
    return hidden, tuple(after), tuple(records)


def _retreat(
    xp: Namespace,
    cell: Cell,
    column: Column,
    x: Array,
    records: tuple[Record, ...],
    d_y: Array | None,
    d_states: States,
    stretch: Stretch,
    walk: Walk,
    *,
    grad_x: bool,
) -> tuple[Column, Array | None, States]:
    """Take the cotangents of all layers back through one stretch."""
    d_v = d_c = None
    if d_y is not None and column.readout_weight is not None:
        d_v = walk.products.weight(xp, join(xp, records[-1].hidden), d_y)
        d_c = walk.products.bias(xp, column.readout_bias, d_y)
        d_y = affine_vjp_x(xp, column.readout_weight, d_y)
    d_layers: list[Weights] = []
    d_before: list[State] = []
    for number in reversed(range(len(records))):
        y = join(xp, records[number - 1].hidden) if number else _input(xp, x, stretch, walk)
        factors = stretch.of(xp, walk.between[number - 1]) if number and walk.between else None
        if factors is not None:
            y = y * factors
        d_w, d_y, d_state = layer_vjp(
            xp,
            cell,
            column.layers[number],
            y,
            records[number],
            d_y,
            _narrow(d_states[number], stretch.width),
            _options(xp, cell, stretch, walk, number),
            grad_x=grad_x or number > 0,
        )
        if factors is not None:
            d_y = d_y * factors
        d_layers.insert(0, d_w)
        d_before.insert(0, _widen(xp, d_state, d_states[number], stretch.width))
    return Column(tuple(d_layers), d_v, d_c), d_y, tuple(d_before)


def _units(xp: Namespace, x: Array, walk: Walk) -> list[list[Stretch]]:
    """Return the stretches of time, by unit, in the order in which they are walked."""
    steps, batch = x.shape[:2]
    found = cut(xp, steps, batch, walk.units, walk.widths, walk.order, walk.inverse)
    return [unit[::-1] for unit in reversed(found)] if walk.reverse else found


def _input(xp: Namespace, x: Array, stretch: Stretch, walk: Walk) -> Array:
    """Return the input of a stretch, without what stands where there are no steps."""
    return where_true(xp, _part(xp, walk.mask, stretch), stretch.of(xp, x))


def _part(xp: Namespace, array: Array | None, stretch: Stretch) -> Array | None:
    return None if array is None else stretch.of(xp, array)


def _options(xp: Namespace, cell: Cell, stretch: Stretch, walk: Walk, number: int) -> Options:
    mask = _part(xp, walk.mask, stretch)
    update = () if mask is None else (mask,) * cell.states
    if walk.update:
        update = tuple(stretch.of(xp, u) for u in walk.update[number])
        if mask is not None:
            update = tuple(where_true(xp, mask, u) for u in update)
    recurrent = None
    if walk.recurrent:
        recurrent = stretch.sequences(xp, walk.recurrent[number], axis=0)
    return Options(walk.reverse, walk.stacked, update, recurrent, walk.products)


def _narrow(state: State, width: int) -> State:
    """Return the states of the first ``width`` sequences."""
    if width >= state[0].shape[0]:
        return state
    return tuple(part[:width, :] for part in state)


def _widen(xp: Namespace, narrow: State, whole: State, width: int) -> State:
    """Undo `_narrow`, with the other sequences from the state before."""
    if width >= whole[0].shape[0]:
        return narrow
    return tuple(xp.concat([n, w[width:, :]]) for n, w in zip(narrow, whole, strict=True))


def _zeros(xp: Namespace, x: Array, weight_hh: Array, readout_weight: Array | None) -> Array:
    """Return the outputs of a batch in which no sequence has a step."""
    size = weight_hh.shape[1] if readout_weight is None else readout_weight.shape[0]
    return xp.zeros((*x.shape[:2], size), dtype=x.dtype, device=device_of(x))


def _plus(total: Any, part: Any) -> Any:
    """Add a tree of new arrays to another, in place where arrays can be written; None is zero."""
    if total is None or part is None:
        return part if total is None else total
    if isinstance(total, tuple):
        added = map(_plus, total, part)
        return type(total)(*added) if hasattr(total, "_fields") else tuple(added)
    total += part
    return total
