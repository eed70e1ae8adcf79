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

Why: ``ax_t`` waits for no state, so it is computed for all steps before the loop. ``h_t`` acts on
what comes after by two ways, out of the layer and into the next step, so its cotangent is a sum:
``d_hidden_t``, which is given, and what the step after it hands back. A weight acts at every step
by one product, so its gradient is the sum over steps of what it multiplied times the cotangent of
what came out: again one product, for all steps after the loop.

What is said here of ``cell`` is what both scans run: a pair of ``_engine/recurrence.py``, of
which ``step`` is the cell with its product and all that a step may have more, ``step_vjp`` goes
back through it, and ``weights_vjp`` is products 3.

This is one layer, read in one direction, over one stretch of time; all of it that is recurrent is
here. ``_engine/network.py`` makes networks of it: long sequences from stretches, stacked
layers, the readout, both directions. Nothing here knows which cell it runs or whose arrays it
holds. Arrays are time-major: x (T, B, I), states (B, H). See :mod:`portable_rnn.api` for the public
functions.
"""

from typing import Any, NamedTuple

from .._arrays.namespace import Array, Namespace
from .._executors.scan import Sequence, join, scan, shift, split
from ..cells import State
from .affine import SUMS, Products
from .recurrence import Recurrence, Weights, plus

__all__ = ["Options", "Record", "layer", "layer_vjp"]


class Options(NamedTuple):
    """How a layer walks through its stretch."""

    reverse: bool = False  # from the last step to the first
    stacked: bool = False  # XLA runs the loops (see _executors/scan.py)
    products: Products = SUMS  # what becomes of the factors of a weight's gradient


class Record(NamedTuple):
    """What the backward pass needs of the forward pass."""

    before: State
    hidden: Sequence
    residuals: Sequence


def layer(
    xp: Namespace,
    recurrence: Recurrence,
    w: Weights,
    x: Array,
    state: State,
    per_step: tuple[Array, ...],
    options: Options,
    *,
    keep: bool,
) -> tuple[Sequence, State, Record]:
    """Return the hidden states of all steps, the final state, and a record for `layer_vjp`.

    The record has no residuals unless they are to be kept.
    """
    ax, w = w.ih(xp, x), w._replace(hh=w.hh.hoisted(xp))

    def step(state: State, inputs: tuple[Array, ...]) -> tuple[State, tuple[Array, Any]]:
        state, residuals = recurrence.step(xp, w, state, *inputs)
        return state, (state[0], residuals if keep else ())

    xs = tuple(split(array, x.shape[0], stacked=options.stacked) for array in (ax, *per_step))
    after, (hidden, residuals) = scan(step, state, xs, reverse=options.reverse)
    return hidden, after, Record(state, hidden, residuals)


def layer_vjp(
    xp: Namespace,
    recurrence: Recurrence,
    w: Weights,
    x: Array,
    record: Record,
    d_hidden: Array | None,
    d_state: State,
    per_step: tuple[Array, ...],
    options: Options,
    *,
    grad_x: bool,
) -> tuple[Weights, Array | None, State]:
    """Return the cotangents of the weights, of ``x``, and of the state before."""

    def step_vjp(d_state: State, inputs: tuple[Any, ...]) -> tuple[State, tuple[Array, ...]]:
        residuals, d_h, *per_step = inputs
        d_state = (plus(d_state[0], d_h), *d_state[1:])
        return recurrence.step_vjp(xp, w, residuals, d_state, *per_step)

    stacked = not isinstance(record.hidden, list)
    xs = tuple(split(array, x.shape[0], stacked=stacked) for array in (d_hidden, *per_step))
    xs, reverse = (record.residuals, *xs), options.reverse
    d_state, rows = scan(step_vjp, d_state, xs, reverse=not reverse)

    h = join(xp, shift(xp, record.before[0], record.hidden, reverse=reverse))
    rows = tuple(join(xp, sequence) for sequence in rows)
    d_w, d_ax = recurrence.weights_vjp(xp, w, x, h, rows, options.products)
    return d_w, w.ih.vjp_x(xp, d_ax) if grad_x else None, d_state
