"""Backpropagation through time: two scans, and four kinds of matrix product.

::

    forward     ax = x W_ihᵀ + b_ih                                  product 1, all steps at once
                ah_t = h_{t-1} W_hhᵀ + b_hh                          product 2, in the scan
                state_t = cell.step(ax_t, ah_t, state_{t-1})                        scan

    backward    d_h_t += d_hidden_t
                d_ax_t, d_ah_t, d_state_{t-1} = cell.step_vjp(.., d_state_t)        scan, reversed
                d_h_{t-1} += d_ah_t W_hh                             product 2, in the scan
                d_W_ih = d_axᵀ x    d_W_hh = d_ahᵀ h_{t-1}           products 3
                d_x = d_ax W_ih                                      product 4

Why: ``ax_t`` depends on no state, so it is computed for all steps before the loop. ``h_t`` goes
two ways, out of the layer and into the next step, so its cotangent is a sum: ``d_hidden_t``, which
is given, and the cotangent from the next step. A weight enters each step through one product, so
its gradient is the sum over steps of the cotangent of the product times what the weight multiplied:
again one product, for all steps after the loop.

``cell`` above stands for what both scans run: a recurrence of ``_engine/recurrence.py``. Its
``step`` is the cell with its product and any extras, such as a projection; ``step_vjp`` goes back
through it, and ``weights_vjp`` is products 3.

This module is one layer, in one direction, over one chunk of time: all that is recurrent.
``_engine/stack.py`` stacks layers and adds a readout; ``_engine/run.py`` runs chunk after chunk,
and ``_engine/network.py`` both directions. Nothing here depends on the cell, on the array library,
or on how ``loop`` runs a scan: it is an executor of ``_executors/``; a compiling one may run a
layer in another way. Arrays are time-major: x (T, B, I), states (B, H). See
:mod:`portable_rnn.api` for the public functions.
"""

from typing import Any, NamedTuple

from .._arrays.namespace import Array
from ..cells import State
from .recurrence import Weights, added, plus
from .setup import Sequence, Setup

__all__ = ["Inputs", "Record", "layer", "layer_vjp"]


class Inputs(NamedTuple):
    """A layer's inputs over one chunk of time, besides the state before it."""

    x: Array
    update: tuple[Array, ...] = ()  # for each state array, if the state may be held


class Record(NamedTuple):
    """What the backward pass of a layer needs from its forward pass."""

    before: State
    hidden: Sequence
    residuals: Sequence


def layer(s: Setup, w: Weights, given: Inputs, state: State) -> tuple[Sequence, State, Record]:
    """Return the hidden states of all steps, the final state, and a record for `layer_vjp`.

    The record has no residuals unless ``s.keep``.
    """
    xp, loop, (x, update) = s.xp, s.executor, given
    ax = w.ih(xp, x)

    def step(state: State, inputs: tuple[Array, ...]) -> tuple[State, tuple[Array, Any]]:
        state, residuals = s.recurrence.step(xp, w, state, *inputs)
        return state, (state[0], residuals if s.keep else ())

    xs = tuple(loop.split(array, x.shape[0]) for array in (ax, *update))
    after, (hidden, residuals) = loop.scan(step, state, xs, reverse=s.reverse)
    return hidden, after, Record(state, hidden, residuals)


def layer_vjp(
    s: Setup,
    w: Weights,
    given: Inputs,
    record: Record,
    d_hidden: Array | None,
    d_state: State,
    total: Weights | None,
) -> tuple[Weights, Array | None, State]:
    """Return the cotangents of the weights, of ``x``, and of the state before.

    Those of the weights are added to ``total``, the sum over the chunks after this one.
    """
    xp, loop, (x, update) = s.xp, s.executor, given

    def step_vjp(d_state: State, inputs: tuple[Any, ...]) -> tuple[State, tuple[Array, ...]]:
        residuals, d_h, *update = inputs
        d_state = (plus(d_state[0], d_h), *d_state[1:])
        return s.recurrence.step_vjp(xp, w, residuals, d_state, *update)

    xs = tuple(loop.split(array, x.shape[0]) for array in (d_hidden, *update))
    xs = (record.residuals, *xs)
    d_state, rows = loop.scan(step_vjp, d_state, xs, reverse=not s.reverse)

    h = loop.join(xp, loop.shift(xp, record.before[0], record.hidden, reverse=s.reverse))
    rows = tuple(loop.join(xp, sequence) for sequence in rows)
    d_w, d_ax = s.recurrence.weights_vjp(xp, w, x, h, rows, s.products)
    return added(total, d_w), w.ih.vjp_x(xp, d_ax) if s.grad_x else None, d_state
