"""Backpropagation through time: two scans, and four kinds of matrix product.

::

    forward     ax = x W_ihᵀ + b_ih                                  product 1, all steps at once
                state_t = cell.step(ax_t, h_{t-1} W_hhᵀ + b_hh, state_{t-1})        scan

    backward    d_ax_t, d_ah_t, .. = cell.step_vjp(.., d_h_t)                       scan, reversed
                d_h_{t-1} += d_ah_t W_hh                             product 2, in the scan
                d_W_ih = d_axᵀ x    d_W_hh = d_ahᵀ h_{t-1}           products 3
                d_x = d_ax W_ih                                      product 4

This is one layer, read in one direction, over one stretch of time; all of it that is recurrent
is here, except for what some steps have more than this: see :mod:`portable_rnn.recurrence`.
:mod:`portable_rnn.network` makes networks of it: long sequences from stretches, stacked layers,
the readout, both directions. Nothing here knows which cell it runs or whose arrays it holds.

A step may be held back, in part or as a whole: ``update`` says for each number of the new state
whether it takes the place of the old one (sequences with gaps; zoneout).

Arrays are time-major: x (T, B, I), states (B, H). See :mod:`portable_rnn.api` for the public
functions.
"""

from typing import Any, NamedTuple

from ._namespace import Array, Namespace, row
from .affine import SUMS, Products, affine, affine_vjp_x
from .cells import Cell, State
from .recurrence import Weights, advance, advance_vjp, is_plain, late_rows, weights_vjp
from .scan import Sequence, join, scan, shift, split
from .select import choose, choose_vjp

__all__ = ["Options", "Record", "Weights", "layer", "layer_vjp"]


class Options(NamedTuple):
    """How a layer walks through its stretch."""

    reverse: bool = False  # from the last step to the first
    stacked: bool = False  # XLA runs the loops (see portable_rnn.scan)
    update: tuple[Array, ...] = ()  # one per state array, (T, B, 1) or (T, B, H)
    recurrent: Array | None = None  # (B, H); factors of h on its way into W_hh, for all steps
    products: Products = SUMS  # what becomes of the factors of a weight's gradient


class Record(NamedTuple):
    """What the backward pass needs of the forward pass."""

    before: State
    hidden: Sequence
    residuals: Sequence


def layer(
    xp: Namespace, cell: Cell, w: Weights, x: Array, state: State, options: Options, *, keep: bool
) -> tuple[Sequence, State, Record | None]:
    """Return the hidden states of all steps, the final state, and a record if asked to keep it."""
    recurrent, late = options.recurrent, late_rows(cell, w)
    plain = is_plain(w, late)
    bias_hh = None if w.bias_hh is None else row(xp, w.bias_hh, 2)

    def step(state: State, inputs: tuple[Array, ...]) -> tuple[State, tuple[Any, ...]]:
        ax_t, *update_t = inputs
        h = state[0] if recurrent is None else state[0] * recurrent
        if plain:
            ah = affine(xp, h, w.weight_hh, bias_hh)
            new, residuals = cell.step(xp, ax_t, ah, state)
        else:
            new, residuals = advance(xp, cell, w, late, ax_t, h, state, recurrent)
        if update_t:
            new = choose(xp, update_t, new, state)
        return new, (new[0], residuals) if keep else (new[0],)

    before, ax = state, affine(xp, x, w.weight_ih, w.bias_ih)
    xs = tuple(split(sequence, stacked=options.stacked) for sequence in (ax, *options.update))
    state, (hidden, *residuals) = scan(step, state, xs, reverse=options.reverse)
    return hidden, state, Record(before, hidden, residuals[0]) if keep else None


def layer_vjp(
    xp: Namespace,
    cell: Cell,
    w: Weights,
    x: Array,
    record: Record,
    d_hidden: Array | None,
    d_state: State,
    options: Options,
    *,
    grad_x: bool,
) -> tuple[Weights, Array | None, State]:
    """Return the cotangents of the weights, of ``x``, and of the state before."""
    recurrent, late = options.recurrent, late_rows(cell, w)
    plain = is_plain(w, late)

    def step_vjp(d_state: State, inputs: tuple[Any, ...]) -> tuple[State, tuple[Array, ...]]:
        residuals, *rest = inputs
        if d_hidden is not None:
            d_h_t, *rest = rest
            d_state = (d_state[0] + d_h_t, *d_state[1:])
        d_held = None
        if rest:
            d_state, d_held = choose_vjp(xp, rest, d_state)
        if plain:
            d_ax, d_ah, d_before = cell.step_vjp(xp, residuals, d_state)
            d_h = affine_vjp_x(xp, w.weight_hh, d_ah)
            more: tuple[Array, ...] = ()
        else:
            d_ax, d_ah, d_before, d_h, more = advance_vjp(
                xp, cell, w, late, residuals, d_state, recurrent
            )
        if recurrent is not None:
            d_h = d_h * recurrent
        if d_before[0] is not None:
            d_h = d_h + d_before[0]
        d_state = (d_h, *d_before[1:])
        if d_held is not None:
            d_state = tuple(map(xp.add, d_state, d_held))
        # A cell that sees only ax + ah hands one array out twice: keep it once.
        return d_state, (*more, d_ax) if d_ax is d_ah else (*more, d_ax, d_ah)

    arrays = (() if d_hidden is None else (d_hidden,)) + options.update
    stacked = not isinstance(record.hidden, list)
    xs = tuple(split(sequence, stacked=stacked) for sequence in arrays)
    reverse = not options.reverse
    d_state, rows = scan(step_vjp, d_state, (record.residuals, *xs), reverse=reverse)

    h_before = join(xp, shift(xp, record.before[0], record.hidden, reverse=options.reverse))
    if recurrent is not None:
        h_before = h_before * recurrent[None, ...]
    joined = [join(xp, sequence) for sequence in rows]
    d_w, d_ax = weights_vjp(xp, w, late, x, h_before, joined, options.products)
    return d_w, affine_vjp_x(xp, w.weight_ih, d_ax) if grad_x else None, d_state
