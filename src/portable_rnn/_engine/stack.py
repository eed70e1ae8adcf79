"""Layers on one another, over one stretch of time: the calculus of a layer, as often as there are.

A `Column` of layers is walked in one direction: stretch after stretch of time, and within one
stretch layer after layer, so that what lies between two layers is never there for all of time.
"""

from typing import Any, NamedTuple, TypeAlias

from .._arrays.namespace import Array
from ..cells import State
from .affine import Linear
from .chunks import Stretch
from .recurrence import Held, Weights
from .select import where_true
from .setup import Sequence, Setup

__all__ = ["Column", "States", "advance", "part", "retreat", "step"]

States: TypeAlias = tuple[State, ...]  # of one layer after another


class Column(NamedTuple):
    """Layers on one another, walked in one direction; perhaps with a readout on top."""

    layers: tuple[Weights, ...]
    readout: Linear | None = None


def advance(
    s: Setup, column: Column, x: Array, states: States, stretch: Stretch
) -> tuple[Sequence, States, tuple[Any, ...]]:
    """Take all layers through one stretch; return the hidden states of the last.

    And the states after it, and the record of each layer.
    """
    after: list[State] = []
    records: list[Any] = []
    hidden = None
    for number, state in enumerate(states):
        y = _input(s, x, stretch, number, hidden)
        w, update = _weights(s, column, stretch, number), _update(s, state, stretch, number)
        hidden, new, record = s.executor.layer(s, w, y, stretch.narrow(state), update)
        after.append(stretch.widen(s.xp, new, state))
        if s.keep:
            records.append(record)
    return hidden, tuple(after), tuple(records)


def retreat(
    s: Setup,
    column: Column,
    x: Array,
    records: tuple[Any, ...],
    d_y: Array | None,
    d_states: States,
    stretch: Stretch,
) -> tuple[Column, Array | None, States]:
    """Take the cotangents of all layers back through one stretch."""
    d_readout = None
    if d_y is not None and column.readout is not None:
        h = s.executor.join(s.xp, records[-1].hidden)
        d_readout = column.readout.vjp_parameters(s.xp, h, d_y, s.products)
        d_y = column.readout.vjp_x(s.xp, d_y)
    d_layers: list[Weights] = []
    d_before: list[State] = []
    for number in reversed(range(len(records))):
        y = _input(s, x, stretch, number, records[number - 1].hidden)
        w, d_state = _weights(s, column, stretch, number), d_states[number]
        update, d_narrow = _update(s, d_state, stretch, number), stretch.narrow(d_state)
        one = s if s.grad_x or not number else s._replace(grad_x=True)  # of the layer below
        d_w, d_y, d_new = s.executor.layer_vjp(one, w, y, records[number], d_y, d_narrow, update)
        if number and s.between:
            d_y = d_y * stretch.of(s.xp, s.between[number - 1])
        d_layers.insert(0, d_w)
        d_before.insert(0, stretch.widen(s.xp, d_new, d_state))
    return Column(tuple(d_layers), d_readout), d_y, tuple(d_before)


def step(
    s: Setup, column: Column, x: Array, states: States, mask: Array | None = None
) -> tuple[Array, States]:
    """Take all layers through one step, without a record; x (B, I), and a mask (B, 1) or None.

    The setup is that of a stream: its updates are (1, 1), for all steps.
    """
    xp, y, after = s.xp, where_true(s.xp, mask, x), []
    held: tuple[Array, ...] = ()
    if mask is not None and not s.update:
        s, held = s._replace(recurrence=Held(s.recurrence)), (mask,) * len(states[0])
    for number, (w, state) in enumerate(zip(column.layers, states, strict=True)):
        update = tuple(where_true(xp, mask, u) for u in s.update[number]) if s.update else held
        new = s.executor.step(s, w, y, state, update)
        after.append(new)
        y = new[0]
    if column.readout is not None:
        y = column.readout(xp, y)
    elif mask is None:  # the state is kept, and what is handed out is the caller's
        y = xp.asarray(y, copy=True)
    return where_true(xp, mask, y), tuple(after)


def part(s: Setup, array: Array | None, stretch: Stretch) -> Array | None:
    """Return the part of an array (T, B, ...) that lies in a stretch, if there is one."""
    return None if array is None else stretch.of(s.xp, array)


def _input(s: Setup, x: Array, stretch: Stretch, number: int, below: Sequence) -> Array:
    """Return the input of a layer: of the first one ``x``, where there are steps."""
    if not number:
        return where_true(s.xp, part(s, s.mask, stretch), stretch.of(s.xp, x))
    y = s.executor.join(s.xp, below)
    return y * stretch.of(s.xp, s.between[number - 1]) if s.between else y


def _weights(s: Setup, column: Column, stretch: Stretch, number: int) -> Weights:
    """Return the weights of a layer; recurrent dropout scales what W_hh multiplies."""
    w = column.layers[number]
    if not s.recurrent:
        return w
    scale = stretch.sequences(s.xp, s.recurrent[number], axis=0)
    return w._replace(hh=w.hh._replace(scale=scale))


def _update(s: Setup, state: State, stretch: Stretch, number: int) -> tuple[Array, ...]:
    """Return where the new state of a layer takes the place of the old, if not everywhere."""
    mask = part(s, s.mask, stretch)
    if not s.update:
        return () if mask is None else (mask,) * len(state)
    update = (stretch.of(s.xp, u) for u in s.update[number])
    return tuple(where_true(s.xp, mask, u) for u in update)
