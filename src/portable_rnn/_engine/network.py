"""Networks of layers: stacked, in both directions, with a readout, over sequences of any length.

A unidirectional network is one stack of layers (``_engine/stack.py``), run through all of time
(``_engine/run.py``). In a bidirectional network, every layer has to finish all of time before the
next can start: each layer is two stacks of one layer, and the readout of both halves,
``o = V [h, h_reverse] + c``, is the sum of a readout of each.
"""

from collections.abc import Iterable
from typing import NamedTuple

from .._arrays.namespace import Array
from ..cells import State
from .affine import Linear
from .recurrence import Weights
from .run import StackTape, run_stack, run_stack_vjp
from .setup import Setup
from .stack import Stack, States

__all__ = ["Parameters", "StackTape", "prepared", "run", "run_vjp"]


class Parameters(NamedTuple):
    """All parameters of a network, by layer and direction, the readout's, and the embedding."""

    layers: tuple[tuple[Weights, ...], ...]
    readout: Linear | None  # (O, D·H); V and c of the book
    embedding: Array | None = None  # (V, I); not used here, since x is embedded before


def run(
    s: Setup, p: Parameters, x: Array, states: States
) -> tuple[Array, States, tuple[StackTape, ...]]:
    """Return outputs, final states, and the tape of each stack."""
    if len(p.layers[0]) == 1:
        y, states, tape = run_stack(s, _whole(p), x, states)
        return y, states, (tape,)
    stack_tapes: list[StackTape] = []
    after: list[State] = []
    for number, stacks in enumerate(_stacks(p)):
        if number and s.between:
            x = x * s.between[number - 1]
        halves = []
        for stack, (i, one) in zip(stacks, _both_ways(s, number), strict=True):
            y, state, tape = run_stack(one, stack, x, states[i : i + 1])
            halves.append(y)
            after += state
            stack_tapes.append(tape)
        summed = stacks[0].readout is not None
        x = halves[0] + halves[1] if summed else s.xp.concat(halves, axis=2)
    return x, tuple(after), tuple(stack_tapes)


def run_vjp(
    s: Setup,
    p: Parameters,
    stack_tapes: tuple[StackTape, ...],
    d_outputs: Array | None,
    d_states: States,
) -> tuple[Parameters, Array | None, States]:
    """Return the cotangents of the parameters, of the input, and of the initial states."""
    if len(p.layers[0]) == 1:
        d_stack, d_x, d_states = run_stack_vjp(s, _whole(p), stack_tapes[0], d_outputs, d_states)
        layers = tuple((w,) for w in d_stack.layers)
        return Parameters(layers, d_stack.readout), d_x, d_states
    d_layers: list[tuple[Weights, ...]] = []
    d_before: list[State] = []
    d_readout, d_y = None, d_outputs
    for number, stacks in reversed(list(enumerate(_stacks(p)))):
        found = []
        for half, (stack, (i, one)) in enumerate(zip(stacks, _both_ways(s, number), strict=True)):
            d_half = d_y
            if d_y is not None and stack.readout is None:
                size = d_y.shape[2] // 2
                d_half = d_y[:, :, half * size : (half + 1) * size]
            found.append(run_stack_vjp(one, stack, stack_tapes[i], d_half, d_states[i : i + 1]))
        (d_one, d_y, d_first), (d_other, d_y_other, d_second) = found
        if d_y is not None:
            d_y = d_y + d_y_other
            if number and s.between:
                d_y = d_y * s.between[number - 1]
        if d_one.readout is not None and d_other.readout is not None:
            d_v = s.products.concat(s.xp, d_one.readout.weight, d_other.readout.weight)
            d_readout = Linear(d_v, d_one.readout.bias)
        d_layers.insert(0, (*d_one.layers, *d_other.layers))
        d_before = [*d_first, *d_second, *d_before]
    return Parameters(tuple(d_layers), d_readout), d_y, tuple(d_before)


def prepared(s: Setup, p: Parameters, size: tuple[int, int]) -> Parameters:
    """Return the weights in the executor's form, once for all passes of a call."""
    layers = tuple(tuple(s.executor.prepare(s, w, size) for w in both) for both in p.layers)
    return p._replace(layers=layers)


def _whole(p: Parameters) -> Stack:
    """Return a unidirectional network as one stack."""
    return Stack(tuple(w for (w,) in p.layers), p.readout)


def _stacks(p: Parameters) -> list[tuple[Stack, Stack]]:
    """Return a bidirectional network as pairs of stacks of one layer each."""
    pairs = [(Stack((one,)), Stack((other,))) for one, other in p.layers]
    if p.readout is not None:
        v, c = p.readout.weight, p.readout.bias
        size = v.shape[1] // 2
        one, other = p.layers[-1]
        pairs[-1] = (Stack((one,), Linear(v[:, :size], c)), Stack((other,), Linear(v[:, size:])))
    return pairs


def _both_ways(s: Setup, number: int) -> Iterable[tuple[int, Setup]]:
    """Yield the index of the state and the setup, for each direction of a layer."""
    for i, reverse in ((2 * number, False), (2 * number + 1, True)):
        yield (
            i,
            s._replace(
                reverse=reverse,
                grad_x=s.grad_x or number > 0,
                between=(),
                recurrent=s.recurrent[i : i + 1],
                update=s.update[i : i + 1],
            ),
        )
