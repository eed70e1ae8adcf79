"""Networks of layers: stacked, in both directions, with a readout, over sequences of any length.

A `Column` of layers is walked in one direction: stretch after stretch of time, and within one
stretch layer after layer, so that what lies between two layers is never there for all of time. A
network of one direction is one column. In one of two directions every layer has to have seen all of
time before the next can start: it is two columns of one layer each for each layer, and the readout
of both halves, ``o = V [h, h_reverse] + c``, is the sum of a readout of each.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

from ._namespace import Array, Namespace, device_of
from .affine import affine, affine_vjp_bias, affine_vjp_weight, affine_vjp_x
from .bptt import Options, Record, Weights, layer, layer_vjp
from .cells import Cell, State
from .scan import join
from .select import where_true
from .stretches import Stretch, cut, place

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
    mask: Array | None = None  # (T, B, 1); the steps that there are
    between: tuple[Array, ...] = ()  # (T, B, D·H); factors of the input of each layer but the first
    recurrent: tuple[Array, ...] = ()  # (B, H); see `Options`
    update: tuple[tuple[Array, ...], ...] = ()  # see `Options`
    reverse: bool = False


class Kept(NamedTuple):
    """The states before a stretch, and the records of its layers."""

    before: States
    records: tuple[Record, ...]


class Passage(NamedTuple):
    """What the backward pass needs of one column: its input, and what was kept of each stretch."""

    x: Array
    kept: tuple[Kept, ...]


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
            d_v = xp.concat([d_one.readout_weight, d_other.readout_weight], axis=1)
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
    steps, batch = x.shape[:2]
    outputs, kept = None, []
    after = states
    for stretch in _stretches(xp, x, walk):
        # Narrowing, a stretch begins with what the last one left: that is on the tape anyway.
        narrowing = after[0][0].shape[0] >= stretch.width
        before = _narrow(after if narrowing else states, stretch.width)
        y, after, records = _advance(xp, cell, column, x, before, stretch, walk, keep=keep)
        states = _widen(xp, after, states, stretch.width)
        if column.readout_weight is not None:
            y = affine(xp, y, column.readout_weight, column.readout_bias)
        y = where_true(xp, _part(walk.mask, stretch), y)
        outputs = place(xp, outputs, y, stretch, steps, batch)
        if keep:
            kept.append(Kept(before, records))
    if outputs is None:
        outputs = _zeros(xp, x, column.layers[-1].weight_hh, column.readout_weight)
    return outputs, states, Passage(x, tuple(kept))


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
    d_column, d_x = Column(tuple(Weights(None, None, None, None) for _ in column.layers)), None
    stretches = _stretches(xp, x, walk)
    for stretch, kept in reversed(list(zip(stretches, passage.kept, strict=True))):
        d_y = None
        if d_outputs is not None:
            d_y = where_true(xp, _part(walk.mask, stretch), stretch.of(d_outputs))
        d_after = _narrow(d_states, stretch.width)
        d_part, d_x_part, d_before = _retreat(
            xp, cell, column, x, kept.records, d_y, d_after, stretch, walk, grad_x=grad_x
        )
        d_states = _widen(xp, d_before, d_states, stretch.width)
        d_column = _plus(d_column, d_part)
        if grad_x:
            d_x = place(xp, d_x, d_x_part, stretch, steps, batch)
    if grad_x and d_x is None:
        d_x = xp.zeros_like(x)
    return d_column, d_x, d_states


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
) -> tuple[Array, States, tuple[Record, ...]]:
    """Take all layers through one stretch; return the hidden states of the last."""
    after, records = [], []
    y = _input(xp, x, stretch, walk)
    for number, (w, state) in enumerate(zip(column.layers, states, strict=True)):
        if number and walk.between:
            y = y * stretch.of(walk.between[number - 1])
        options = _options(xp, cell, stretch, walk, number)
        hidden, state, record = layer(xp, cell, w, y, state, options, keep=keep)
        y = join(xp, hidden)
        after.append(state)
        if record is not None:
            records.append(record)
    return y, tuple(after), tuple(records)


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
        d_v = affine_vjp_weight(xp, join(xp, records[-1].hidden), d_y)
        d_c = affine_vjp_bias(xp, column.readout_bias, d_y)
        d_y = affine_vjp_x(xp, column.readout_weight, d_y)
    d_layers: list[Weights] = []
    d_before: list[State] = []
    for number in reversed(range(len(records))):
        y = join(xp, records[number - 1].hidden) if number else _input(xp, x, stretch, walk)
        factors = stretch.of(walk.between[number - 1]) if number and walk.between else None
        if factors is not None:
            y = y * factors
        d_w, d_y, d_state = layer_vjp(
            xp,
            cell,
            column.layers[number],
            y,
            records[number],
            d_y,
            d_states[number],
            _options(xp, cell, stretch, walk, number),
            grad_x=grad_x or number > 0,
        )
        if factors is not None:
            d_y = d_y * factors
        d_layers.insert(0, d_w)
        d_before.insert(0, d_state)
    return Column(tuple(d_layers), d_v, d_c), d_y, tuple(d_before)


def _stretches(xp: Namespace, x: Array, walk: Walk) -> list[Stretch]:
    """Return the stretches of time in the order in which they are walked."""
    found = cut(xp, x.shape[0], x.shape[1], walk.widths)
    return found[::-1] if walk.reverse else found


def _input(xp: Namespace, x: Array, stretch: Stretch, walk: Walk) -> Array:
    """Return the input of a stretch, without what stands where there are no steps."""
    return where_true(xp, _part(walk.mask, stretch), stretch.of(x))


def _part(array: Array | None, stretch: Stretch) -> Array | None:
    return None if array is None else stretch.of(array)


def _options(xp: Namespace, cell: Cell, stretch: Stretch, walk: Walk, number: int) -> Options:
    mask = _part(walk.mask, stretch)
    update = () if mask is None else (mask,) * cell.states
    if walk.update:
        update = tuple(stretch.of(u) for u in walk.update[number])
        if mask is not None:
            update = tuple(where_true(xp, mask, u) for u in update)
    recurrent = walk.recurrent[number][: stretch.width, :] if walk.recurrent else None
    return Options(walk.reverse, walk.stacked, update, recurrent)


def _narrow(states: States, width: int) -> States:
    """Return the states of the first ``width`` sequences."""
    if width >= states[0][0].shape[0]:
        return states
    return tuple(tuple(part[:width, :] for part in state) for state in states)


def _widen(xp: Namespace, narrow: States, whole: States, width: int) -> States:
    """Undo `_narrow`, with the other sequences from the states before."""
    if width >= whole[0][0].shape[0]:
        return narrow
    return tuple(
        tuple(xp.concat([n, w[width:, :]]) for n, w in zip(*pair, strict=True))
        for pair in zip(narrow, whole, strict=True)
    )


def _zeros(xp: Namespace, x: Array, weight_hh: Array, readout_weight: Array | None) -> Array:
    """Return the outputs of a batch in which no sequence has a step."""
    size = weight_hh.shape[1] if readout_weight is None else readout_weight.shape[0]
    return xp.zeros((*x.shape[:2], size), dtype=x.dtype, device=device_of(x))


def _plus(total: Any, part: Any) -> Any:
    """Add two trees of the same form, in which None counts as zero."""
    if total is None or part is None:
        return part if total is None else total
    if isinstance(total, tuple):
        added = map(_plus, total, part)
        return type(total)(*added) if hasattr(total, "_fields") else tuple(added)
    return total + part
