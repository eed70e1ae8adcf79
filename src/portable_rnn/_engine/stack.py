"""Layers on one another, over one chunk of time: the calculus of a layer, as often as there are.

A `Stack` of layers is walked in one direction: chunk after chunk of time, and within one
chunk layer after layer, so that what lies between two layers is never there for all of time.
"""

from typing import Any, NamedTuple, TypeAlias

from .._arrays.functions import copied
from .._arrays.namespace import Array
from ..cells import State
from .affine import Linear
from .chunks import Chunk
from .recurrence import Held, Weights
from .select import where_true
from .setup import Sequence, Setup

__all__ = ["Stack", "States", "part", "run_chunk", "run_chunk_vjp", "step"]

States: TypeAlias = tuple[State, ...]  # of one layer after another


class Stack(NamedTuple):
    """Layers on one another, walked in one direction; perhaps with a readout on top."""

    layers: tuple[Weights, ...]
    readout: Linear | None = None


def run_chunk(
    s: Setup, stack: Stack, x: Array, states: States, chunk: Chunk
) -> tuple[Sequence, States, tuple[Any, ...]]:
    """Take all layers through one chunk; return the hidden states of the last.

    And the states after it, and the record of each layer.
    """
    after: list[State] = []
    records: list[Any] = []
    hidden = None
    for number, state in enumerate(states):
        y = _input(s, x, chunk, number, hidden)
        w, update = _weights(s, stack, chunk, number), _update(s, state, chunk, number)
        hidden, new, record = s.executor.layer(s, w, y, chunk.take_active(state), update)
        after.append(chunk.restore_inactive(s.xp, new, state))
        if s.keep:
            records.append(record)
    return hidden, tuple(after), tuple(records)


def run_chunk_vjp(
    s: Setup,
    stack: Stack,
    x: Array,
    records: tuple[Any, ...],
    d_y: Array | None,
    d_states: States,
    chunk: Chunk,
) -> tuple[Stack, Array | None, States]:
    """Take the cotangents of all layers back through one chunk."""
    d_readout = None
    if d_y is not None and stack.readout is not None:
        h = s.executor.join(s.xp, records[-1].hidden)
        d_readout = stack.readout.vjp_parameters(s.xp, h, d_y, s.products)
        d_y = stack.readout.vjp_x(s.xp, d_y)
    d_layers: list[Weights] = []
    d_before: list[State] = []
    for number in reversed(range(len(records))):
        y = _input(s, x, chunk, number, records[number - 1].hidden)
        w, d_state = _weights(s, stack, chunk, number), d_states[number]
        update, d_active = _update(s, d_state, chunk, number), chunk.take_active(d_state)
        one = s if s.grad_x or not number else s._replace(grad_x=True)  # of the layer below
        d_w, d_y, d_new = s.executor.layer_vjp(one, w, y, records[number], d_y, d_active, update)
        if number and s.between:
            d_y = d_y * chunk.of(s.xp, s.between[number - 1])
        d_layers.insert(0, d_w)
        d_before.insert(0, chunk.restore_inactive(s.xp, d_new, d_state))
    return Stack(tuple(d_layers), d_readout), d_y, tuple(d_before)


def step(
    s: Setup, stack: Stack, x: Array, states: States, mask: Array | None = None
) -> tuple[Array, States]:
    """Take all layers through one step, without a record; x (B, I), and a mask (B, 1) or None.

    The setup is that of a stream: its updates are (1, 1), for all steps.
    """
    xp, y, after = s.xp, where_true(s.xp, mask, x), []
    held: tuple[Array, ...] = ()
    if mask is not None and not s.update:
        s, held = s._replace(recurrence=Held(s.recurrence)), (mask,) * len(states[0])
    for number, (w, state) in enumerate(zip(stack.layers, states, strict=True)):
        update = tuple(where_true(xp, mask, u) for u in s.update[number]) if s.update else held
        new = s.executor.step(s, w, y, state, update)
        after.append(new)
        y = new[0]
    if stack.readout is not None:
        y = stack.readout(xp, y)
    elif mask is None:  # the state is kept, and what is handed out is the caller's
        y = copied(xp, y)
    return where_true(xp, mask, y), tuple(after)


def part(s: Setup, array: Array | None, chunk: Chunk) -> Array | None:
    """Return the part of an array (T, B, ...) that lies in a chunk, if there is one."""
    return None if array is None else chunk.of(s.xp, array)


def _input(s: Setup, x: Array, chunk: Chunk, number: int, below: Sequence) -> Array:
    """Return the input of a layer: of the first one ``x``, where there are steps."""
    if not number:
        return where_true(s.xp, part(s, s.mask, chunk), chunk.of(s.xp, x))
    y = s.executor.join(s.xp, below)
    return y * chunk.of(s.xp, s.between[number - 1]) if s.between else y


def _weights(s: Setup, stack: Stack, chunk: Chunk, number: int) -> Weights:
    """Return the weights of a layer; recurrent dropout scales what W_hh multiplies."""
    w = stack.layers[number]
    if not s.recurrent:
        return w
    scale = chunk.sequences(s.xp, s.recurrent[number], axis=0)
    return w._replace(hh=w.hh._replace(scale=scale))


def _update(s: Setup, state: State, chunk: Chunk, number: int) -> tuple[Array, ...]:
    """Return where the new state of a layer takes the place of the old, if not everywhere."""
    mask = part(s, s.mask, chunk)
    if not s.update:
        return () if mask is None else (mask,) * len(state)
    update = (chunk.of(s.xp, u) for u in s.update[number])
    return tuple(where_true(s.xp, mask, u) for u in update)
