"""Stacked layers over one chunk of time: the calculus of one layer, repeated.

A `Stack` of layers is run in one direction: chunk after chunk of time, and within one chunk
layer after layer, so that the values between two layers never exist for all of time at once.
"""

from typing import Any, NamedTuple, TypeAlias

from .._arrays.functions import copied
from .._arrays.namespace import Array
from ..cells import State
from .affine import Linear
from .bptt import Inputs
from .chunks import Chunk
from .recurrence import Held, Weights, added
from .select import where_true
from .setup import Sequence, Setup

__all__ = ["Stack", "StackChunk", "States", "part", "step"]

States: TypeAlias = tuple[State, ...]  # of one layer after another


class Stack(NamedTuple):
    """Stacked layers that run in one direction, with an optional readout on top."""

    layers: tuple[Weights, ...]
    readout: Linear | None = None


class StackChunk(NamedTuple):
    """A stack of layers over one chunk of time."""

    setup: Setup
    stack: Stack
    x: Array  # (T, B, I); of all of time
    chunk: Chunk

    def run(self, states: States) -> tuple[Sequence, States, tuple[Any, ...]]:
        """Run all layers through the chunk.

        Return the hidden states of the last layer, the states after the chunk, and the record of
        each layer.
        """
        s, chunk = self.setup, self.chunk
        after: list[State] = []
        records: list[Any] = []
        hidden = None
        for number, state in enumerate(states):
            given = self._inputs(number, hidden, state)
            active = chunk.take_active(state)
            hidden, new, record = s.executor.layer(s, self._weights(number), given, active)
            after.append(chunk.restore_inactive(s.xp, new, state))
            if s.keep:
                records.append(record)
        return hidden, tuple(after), tuple(records)

    def vjp(
        self, records: tuple[Any, ...], d_y: Array | None, d_states: States, total: Stack | None
    ) -> tuple[Stack, Array | None, States]:
        """Go back through all layers; cotangents of parameters are added to ``total``."""
        s, stack, _, chunk = self
        total = total or Stack((None,) * len(records))  # type: ignore[arg-type]
        d_readout = None
        if d_y is not None and stack.readout is not None:
            h = s.executor.join(s.xp, records[-1].hidden)
            d_readout = stack.readout.vjp_parameters(s.xp, h, d_y, s.products)
            d_y = stack.readout.vjp_x(s.xp, d_y)
        d_layers: list[Weights] = []
        d_before: list[State] = []
        for number in reversed(range(len(records))):
            w, d_state, d_w = self._weights(number), d_states[number], total.layers[number]
            given = self._inputs(number, records[number - 1].hidden, d_state)
            d_active = chunk.take_active(d_state)
            one = s if s.grad_x or not number else s._replace(grad_x=True)  # for the layer below
            d_w, d_y, d_new = s.executor.layer_vjp(
                one, w, given, records[number], d_y, d_active, d_w
            )
            if number and s.between:
                d_y = d_y * chunk.of(s.xp, s.between[number - 1])
            d_layers.insert(0, d_w)
            d_before.insert(0, chunk.restore_inactive(s.xp, d_new, d_state))
        return Stack(tuple(d_layers), added(total.readout, d_readout)), d_y, tuple(d_before)

    def _inputs(self, number: int, below: Sequence, state: State) -> Inputs:
        """Return the inputs of a layer; for the first one, ``x`` at the valid steps."""
        s, _, x, chunk = self
        mask = part(s, s.mask, chunk)
        if not number:
            y = where_true(s.xp, mask, chunk.of(s.xp, x))
        else:
            y = s.executor.join(s.xp, below)
            y = y * chunk.of(s.xp, s.between[number - 1]) if s.between else y
        # Where the new state replaces the old, if not everywhere.
        if not s.update:
            return Inputs(y, () if mask is None else (mask,) * len(state))
        update = (chunk.of(s.xp, u) for u in s.update[number])
        return Inputs(y, tuple(where_true(s.xp, mask, u) for u in update))

    def _weights(self, number: int) -> Weights:
        """Return the weights of a layer; recurrent dropout scales what W_hh multiplies."""
        s, w = self.setup, self.stack.layers[number]
        if not s.recurrent:
            return w
        scale = self.chunk.sequences(s.xp, s.recurrent[number], axis=0)
        return w._replace(hh=w.hh._replace(scale=scale))


def step(
    s: Setup, stack: Stack, x: Array, states: States, mask: Array | None = None
) -> tuple[Array, States]:
    """Run all layers through one step, without a record; x (B, I), and a mask (B, 1) or None.

    The setup is a stream's: its updates are (1, 1), for all steps.
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
    elif mask is None:  # the state is kept, and the caller may write into the result
        y = copied(xp, y)
    return where_true(xp, mask, y), tuple(after)


def part(s: Setup, array: Array | None, chunk: Chunk) -> Array | None:
    """Return the part of an array (T, B, ...) that lies in a chunk, if there is one."""
    return None if array is None else chunk.of(s.xp, array)
