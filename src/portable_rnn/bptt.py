"""Backpropagation through time: two scans, and four kinds of matrix product.

::

    forward     ax = x W_ihᵀ + b_ih                                  product 1, all steps at once
                state_t = cell.step(ax_t, h_{t-1} W_hhᵀ + b_hh, state_{t-1})        scan
                o = h Vᵀ + c                                         product 2, all steps at once

    backward    d_h = d_o V                                                         (of 2)
                d_ax_t, d_ah_t, .. = cell.step_vjp(.., d_h_t)                       scan, reversed
                d_h_{t-1} += d_ah_t W_hh
                d_V = d_oᵀ h    d_W_ih = d_axᵀ x    d_W_hh = d_ahᵀ h_{t-1}          products 3
                d_x = d_ax W_ih                                                     product 4

Nothing here knows which cell it runs or whose arrays it holds. "All steps at once" means all
steps of a *stretch*: time is walked in stretches of about `ROWS` rows (steps times batch), so
that what is hoisted out of the loop fits a cache and stays small beside the tape. Libraries
that trace, or cannot write into an array, get one stretch.

Arrays are time-major: x (T, B, I), states (B, H), outputs (T, B, O). See :mod:`portable_rnn.api`
for the public functions.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from ._namespace import Array, Namespace, device_of, in_one_piece
from .affine import affine, affine_vjp_bias, affine_vjp_weight, affine_vjp_x
from .cells import Cell, State
from .scan import Sequence, join, scan, shift, split

__all__ = ["Stretch", "Weights", "run", "run_vjp"]

ROWS = 1024


class Weights(NamedTuple):
    """Every array that is learned, or its gradient; None for what the model does without."""

    weight_ih: Array  # (G·H, I); U of the book
    weight_hh: Array  # (G·H, H); W
    bias_ih: Array | None  # (G·H,); b
    bias_hh: Array | None  # (G·H,)
    readout_weight: Array | None  # (O, H); V
    readout_bias: Array | None  # (O,); c


class Stretch(NamedTuple):
    """What the backward pass needs of one stretch of time."""

    before: State
    hidden: Sequence
    residuals: Sequence


def run(
    xp: Namespace,
    cell: Cell,
    w: Weights,
    x: Array,
    state: State,
    *,
    keep: bool,
    stacked: bool,
) -> tuple[Array, State, tuple[Stretch, ...]]:
    """Return outputs, final state, and the stretches if they are to be kept.

    ``stacked`` says that XLA will run the loops (see :mod:`portable_rnn.scan`).
    """

    def step(state: State, inputs: tuple[Array]) -> tuple[State, tuple[Any, ...]]:
        (ax_t,) = inputs
        ah_t = affine(xp, state[0], w.weight_hh, w.bias_hh)
        state, residuals = cell.step(xp, ax_t, ah_t, state)
        return state, (state[0], residuals) if keep else (state[0],)

    outputs, stretches = None, []
    for rows in _stretches(xp, x):
        before = state
        ax = affine(xp, x[rows, ...], w.weight_ih, w.bias_ih)
        state, (hidden, *residuals) = scan(step, state, (split(ax, stacked=stacked),))
        y = join(xp, hidden)
        if w.readout_weight is not None:
            y = affine(xp, y, w.readout_weight, w.readout_bias)
        outputs = _place(xp, outputs, y, rows, x.shape[0])
        if keep:
            stretches.append(Stretch(before, hidden, residuals[0]))
    return outputs, state, tuple(stretches)


def run_vjp(
    xp: Namespace,
    cell: Cell,
    w: Weights,
    x: Array,
    stretches: tuple[Stretch, ...],
    d_outputs: Array | None,
    d_state: State,
    *,
    grad_x: bool,
) -> tuple[Weights, Array | None, State]:
    """Return the cotangents of the weights, of ``x``, and of the initial state."""

    def step_vjp(d_state: State, inputs: tuple[Any, ...]) -> tuple[State, tuple[Array, ...]]:
        residuals, *d_h_t = inputs
        d_h, *d_others = d_state
        if d_h_t:
            d_h = d_h + d_h_t[0]
        d_ax, d_ah, d_before = cell.step_vjp(xp, residuals, (d_h, *d_others))
        d_h = affine_vjp_x(xp, w.weight_hh, d_ah)
        if d_before[0] is not None:
            d_h = d_h + d_before[0]
        # A cell that sees only ax + ah hands one array out twice: keep it once.
        return (d_h, *d_before[1:]), ((d_ax,) if d_ax is d_ah else (d_ax, d_ah))

    d_w, d_x = Weights(*[None] * len(Weights._fields)), None
    for rows, stretch in reversed(list(zip(_stretches(xp, x), stretches, strict=True))):
        xs: tuple[Sequence, ...] = (stretch.residuals,)
        d_v = d_c = None
        if d_outputs is not None:
            d_h = d_outputs[rows, ...]
            if w.readout_weight is not None:
                d_v = affine_vjp_weight(xp, join(xp, stretch.hidden), d_h)
                d_c = affine_vjp_bias(xp, w.readout_bias, d_h)
                d_h = affine_vjp_x(xp, w.readout_weight, d_h)
            xs += (split(d_h, stacked=not isinstance(stretch.hidden, list)),)

        d_state, d_pre = scan(step_vjp, d_state, xs, reverse=True)

        d_pre = [join(xp, sequence) for sequence in d_pre]
        d_ax, d_ah = d_pre[0], d_pre[-1]
        h_before = join(xp, shift(xp, stretch.before[0], stretch.hidden))
        d_w_rows = Weights(
            weight_ih=affine_vjp_weight(xp, x[rows, ...], d_ax),
            weight_hh=affine_vjp_weight(xp, h_before, d_ah),
            bias_ih=affine_vjp_bias(xp, w.bias_ih, d_ax),
            bias_hh=affine_vjp_bias(xp, w.bias_hh, d_ah),
            readout_weight=d_v,
            readout_bias=d_c,
        )
        d_w = Weights(*map(_plus, d_w, d_w_rows))
        if grad_x:
            d_x_rows = affine_vjp_x(xp, w.weight_ih, d_ax)
            d_x = _place(xp, d_x, d_x_rows, rows, x.shape[0])
    return d_w, d_x, d_state


def _stretches(xp: Namespace, x: Array) -> Iterable[slice]:
    """Cut time into slices of about `ROWS` rows."""
    steps, batch = x.shape[0], x.shape[1]
    size = steps if in_one_piece(xp) else max(1, ROWS // batch)
    return [slice(t, min(t + size, steps)) for t in range(0, steps, size)]


def _place(xp: Namespace, whole: Array | None, part: Array, rows: slice, steps: int) -> Array:
    """Write ``part`` into its rows of a new array of ``steps`` rows, made when first needed."""
    if part.shape[0] == steps:
        return part
    if whole is None:
        shape = (steps, *part.shape[1:])
        whole = xp.empty(shape, dtype=part.dtype, device=device_of(part))
    whole[rows, ...] = part
    return whole


def _plus(total: Array | None, part: Array | None) -> Array | None:
    return part if total is None else total if part is None else total + part
