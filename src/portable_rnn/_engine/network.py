"""Networks of layers: stacked, in both directions, with a readout, over sequences of any length.

A `Column` of layers is walked in one direction: stretch after stretch of time, and within one
stretch layer after layer, so that what lies between two layers is never there for all of time. A
network of one direction is one column. In one of two directions every layer has to have seen all of
time before the next can start: it is two columns of one layer each for each layer, and the readout
of both halves, ``o = V [h, h_reverse] + c``, is the sum of a readout of each.

Under a memory budget time is cut into units of stretches. The first run keeps some of the states
between them, and the way back runs each unit again (see ``_engine/checkpointing.py``). Without
one, all of time is the last unit, of which everything is kept.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

from .._arrays.namespace import Array, Namespace, device_of
from .._executors.scan import Sequence, join
from ..cells import State
from .affine import Linear
from .bptt import Options, Record, layer, layer_vjp
from .checkpointing import backwards, first_places
from .chunks import Stretch, Units, cut, place
from .recurrence import Recurrence, Weights
from .select import where_true

__all__ = ["Column", "Parameters", "Passage", "Walk", "run", "run_vjp"]

States: TypeAlias = tuple[State, ...]  # of one layer after another

NOTHING = Weights(None, None, own=None)  # type: ignore[arg-type]  # the gradients of no steps


class Parameters(NamedTuple):
    """Everything that is learned: by layer and direction, and the readout."""

    layers: tuple[tuple[Weights, ...], ...]
    readout: Linear | None  # (O, D·H); V and c of the book


class Column(NamedTuple):
    """Layers on one another, walked in one direction; perhaps with a readout on top."""

    layers: tuple[Weights, ...]
    readout: Linear | None = None


class Walk(NamedTuple):
    """How a network goes through its input; what is per layer is in the order of the states."""

    recurrence: Recurrence  # the step of all layers
    options: Options = Options()
    widths: tuple[int, ...] | None = None  # sequences at each step, falling
    order: Array | None = None  # (B,); which sequences they are (see _engine/chunks.py)
    inverse: Array | None = None  # (B,)
    mask: Array | None = None  # (T, B, 1); the steps that there are
    between: tuple[Array, ...] = ()  # (T, B, D·H); factors of the input of each layer but the first
    recurrent: tuple[Array, ...] = ()  # (B, H); factors of h on its way into W_hh
    update: tuple[tuple[Array, ...], ...] = ()  # (T, B, 1) or (T, B, H), for each state array
    units: Units | None = None  # under a memory budget


class Passage(NamedTuple):
    """What the backward pass needs of one column. Under a memory budget it is used up by it."""

    x: Array
    kept: dict[int, States]  # before some of the units
    records: list[tuple[Record, ...]]  # of the last unit: of each stretch, of each layer


# ------------------------------------------------------------------------ both directions


def run(
    xp: Namespace, p: Parameters, x: Array, states: States, walk: Walk, *, keep: bool
) -> tuple[Array, States, tuple[Passage, ...]]:
    """Return outputs, final states, and, if they are to be kept, what the backward pass needs."""
    if len(p.layers[0]) == 1:
        y, states, passage = _run(xp, _whole(p), x, states, walk, keep=keep)
        return y, states, (passage,)
    passages: list[Passage] = []
    after: list[State] = []
    for number, columns in enumerate(_columns(p)):
        if number and walk.between:
            x = x * walk.between[number - 1]
        halves = []
        for column, (i, one) in zip(columns, _walks(walk, number), strict=True):
            y, state, passage = _run(xp, column, x, states[i : i + 1], one, keep=keep)
            halves.append(y)
            after += state
            passages.append(passage)
        summed = columns[0].readout is not None
        x = halves[0] + halves[1] if summed else xp.concat(halves, axis=2)
    return x, tuple(after), tuple(passages)


def run_vjp(
    xp: Namespace,
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
            xp, _whole(p), passages[0], d_outputs, d_states, walk, grad_x=grad_x
        )
        layers = tuple((w,) for w in d_column.layers)
        return Parameters(layers, d_column.readout), d_x, d_states
    d_layers: list[tuple[Weights, ...]] = []
    d_before: list[State] = []
    d_readout, d_y = None, d_outputs
    for number, columns in reversed(list(enumerate(_columns(p)))):
        found = []
        for half, (column, (i, one)) in enumerate(zip(columns, _walks(walk, number), strict=True)):
            d_half = d_y
            if d_y is not None and column.readout is None:
                size = d_y.shape[2] // 2
                d_half = d_y[:, :, half * size : (half + 1) * size]
            passage, d_state, wanted = passages[i], d_states[i : i + 1], grad_x or number > 0
            found.append(_run_vjp(xp, column, passage, d_half, d_state, one, grad_x=wanted))
        (d_one, d_y, d_first), (d_other, d_y_other, d_second) = found
        if d_y is not None:
            d_y = d_y + d_y_other
            if number and walk.between:
                d_y = d_y * walk.between[number - 1]
        if d_one.readout is not None and d_other.readout is not None:
            d_v = walk.options.products.beside(xp, d_one.readout.weight, d_other.readout.weight)
            d_readout = Linear(d_v, d_one.readout.bias)
        d_layers.insert(0, (*d_one.layers, *d_other.layers))
        d_before = [*d_first, *d_second, *d_before]
    return Parameters(tuple(d_layers), d_readout), d_y, tuple(d_before)


def _whole(p: Parameters) -> Column:
    """Return a network of one direction as one column."""
    return Column(tuple(w for (w,) in p.layers), p.readout)


def _columns(p: Parameters) -> list[tuple[Column, Column]]:
    """Return a network of two directions as pairs of columns of one layer each."""
    pairs = [(Column((one,)), Column((other,))) for one, other in p.layers]
    if p.readout is not None:
        v, c, _ = p.readout
        size = v.shape[1] // 2
        one, other = p.layers[-1]
        pairs[-1] = (Column((one,), Linear(v[:, :size], c)), Column((other,), Linear(v[:, size:])))
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
                options=walk.options._replace(reverse=reverse),
            ),
        )


# -------------------------------------------------------------------------- one direction


def _run(
    xp: Namespace,
    column: Column,
    x: Array,
    states: States,
    walk: Walk,
    *,
    keep: bool,
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
                xp, column, x, states, stretch, walk, keep=keep and last
            )
            y = join(xp, hidden)
            if column.readout is not None:
                y = column.readout(xp, y)
            y = where_true(xp, _part(xp, walk.mask, stretch), y)
            outputs = place(xp, outputs, y, stretch, steps, batch)
            if records:
                passage.records.append(records)
    if outputs is None:
        outputs = _zeros(xp, x, column)
    return outputs, states, passage


def _run_vjp(
    xp: Namespace,
    column: Column,
    passage: Passage,
    d_outputs: Array | None,
    d_states: States,
    walk: Walk,
    *,
    grad_x: bool,
) -> tuple[Column, Array | None, States]:
    x, (steps, batch) = passage.x, passage.x.shape[:2]
    d_column: Column | None = None
    d_block, d_x, block, groups = d_column, None, -1, _units(xp, x, walk)

    def advance(states: States, start: int, end: int) -> States:
        for stretch in (stretch for unit in groups[start:end] for stretch in unit):
            _, states, _ = _advance(xp, column, x, states, stretch, walk, keep=False)
        return states

    def records_of(unit: list[Stretch], states: States) -> list[tuple[Record, ...]]:
        if unit is groups[-1]:
            found = list(passage.records)
            if walk.units:
                passage.records.clear()
            return found
        found = []
        for stretch in unit:
            _, states, records = _advance(xp, column, x, states, stretch, walk, keep=True)
            found.append(records)
        return found

    kept = passage.kept if walk.units else dict(passage.kept)
    slots = walk.units.slots if walk.units else 0
    for number, states in backwards(len(groups), slots, kept, advance) if groups else ():
        unit = groups[number]
        records = records_of(unit, states)
        for stretch in reversed(unit):
            if stretch.block != block:
                d_column, d_block, block = _plus(d_column, d_block), None, stretch.block
            d_y = None
            if d_outputs is not None:
                d_y = where_true(xp, _part(xp, walk.mask, stretch), stretch.of(xp, d_outputs))
            d_part, d_x_part, d_states = _retreat(
                xp,
                column,
                x,
                records.pop(),
                d_y,
                d_states,
                stretch,
                walk,
                grad_x=grad_x,
            )
            d_block = _plus(d_block, d_part)
            if grad_x:
                d_x = place(xp, d_x, d_x_part, stretch, steps, batch)
            del d_part, d_x_part  # before the next stretch makes its own
    d_column = _plus(d_column, d_block)
    if d_column is None:  # no sequence has a step
        d_column = Column((NOTHING,) * len(column.layers))
        d_x = xp.zeros_like(x) if grad_x else None
    return d_column, d_x, d_states


def _advance(
    xp: Namespace,
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
    for number, state in enumerate(states):
        if number:
            y = join(xp, hidden)
            if walk.between:
                y = y * stretch.of(xp, walk.between[number - 1])
        hidden, new, record = layer(
            xp,
            walk.recurrence,
            _weights(xp, column, stretch, walk, number),
            y,
            stretch.narrow(state),
            _update(xp, state, stretch, walk, number),
            walk.options,
            keep=keep,
        )
        after.append(stretch.widen(xp, new, state))
        if keep:
            records.append(record)
    return hidden, tuple(after), tuple(records)


def _retreat(
    xp: Namespace,
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
    d_readout = None
    if d_y is not None and column.readout is not None:
        h = join(xp, records[-1].hidden)
        d_readout = column.readout.vjp_parameters(xp, h, d_y, walk.options.products)
        d_y = column.readout.vjp_x(xp, d_y)
    d_layers: list[Weights] = []
    d_before: list[State] = []
    for number in reversed(range(len(records))):
        y = join(xp, records[number - 1].hidden) if number else _input(xp, x, stretch, walk)
        factors = stretch.of(xp, walk.between[number - 1]) if number and walk.between else None
        if factors is not None:
            y = y * factors
        d_w, d_y, d_state = layer_vjp(
            xp,
            walk.recurrence,
            _weights(xp, column, stretch, walk, number),
            y,
            records[number],
            d_y,
            stretch.narrow(d_states[number]),
            _update(xp, d_states[number], stretch, walk, number),
            walk.options,
            grad_x=grad_x or number > 0,
        )
        if factors is not None:
            d_y = d_y * factors
        d_layers.insert(0, d_w)
        d_before.insert(0, stretch.widen(xp, d_state, d_states[number]))
    return Column(tuple(d_layers), d_readout), d_y, tuple(d_before)


def _units(xp: Namespace, x: Array, walk: Walk) -> list[list[Stretch]]:
    """Return the stretches of time, by unit, in the order in which they are walked."""
    steps, batch = x.shape[:2]
    found = cut(xp, steps, batch, walk.units, walk.widths, walk.order, walk.inverse)
    return [unit[::-1] for unit in reversed(found)] if walk.options.reverse else found


def _input(xp: Namespace, x: Array, stretch: Stretch, walk: Walk) -> Array:
    """Return the input of a stretch, without what stands where there are no steps."""
    return where_true(xp, _part(xp, walk.mask, stretch), stretch.of(xp, x))


def _part(xp: Namespace, array: Array | None, stretch: Stretch) -> Array | None:
    return None if array is None else stretch.of(xp, array)


def _weights(xp: Namespace, column: Column, stretch: Stretch, walk: Walk, number: int) -> Weights:
    """Return the weights of a layer; recurrent dropout scales what W_hh multiplies."""
    w = column.layers[number]
    if not walk.recurrent:
        return w
    scale = stretch.sequences(xp, walk.recurrent[number], axis=0)
    return w._replace(hh=w.hh._replace(scale=scale))


def _update(
    xp: Namespace, state: State, stretch: Stretch, walk: Walk, number: int
) -> tuple[Array, ...]:
    """Return where the new state of a layer takes the place of the old, if not everywhere."""
    mask = _part(xp, walk.mask, stretch)
    if not walk.update:
        return () if mask is None else (mask,) * len(state)
    update = (stretch.of(xp, u) for u in walk.update[number])
    return tuple(where_true(xp, mask, u) for u in update)


def _zeros(xp: Namespace, x: Array, column: Column) -> Array:
    """Return the outputs of a batch in which no sequence has a step."""
    last = column.layers[-1].hh.weight
    size = last.shape[1] if column.readout is None else column.readout.weight.shape[0]
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
