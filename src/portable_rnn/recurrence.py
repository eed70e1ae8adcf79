"""What a step may have beside the product of W_hh and the hidden state.

::

    own vectors  state' = cell.step(ax, ah, state, *own)
    late gates   v = cell.early(ax, h W_hhᵀ + b_hh, state)       the last rows of W_hh multiply v
    projection   h' = m W_hrᵀ, where m is what the cell calls its hidden state

What the gradients of the weights need of each step is handed out, to be multiplied for all steps at
once when the time loop is over.
"""

from typing import Any, NamedTuple

from ._namespace import Array, Namespace
from .affine import Products, affine, affine_vjp_x
from .cells import Cell, State

__all__ = ["Weights", "advance", "advance_vjp", "is_plain", "late_rows", "weights_vjp"]


class Weights(NamedTuple):
    """The parameters of one layer, or their gradients; None for what the model does without."""

    weight_ih: Array  # (G·H, I); U of the book
    weight_hh: Array  # (G·H, H); W
    bias_ih: Array | None  # (G·H,); b
    bias_hh: Array | None  # (G·H,)
    weight_hr: Array | None = None  # (P, H); then h has size P, and weight_hh is (G·H, P)
    own: tuple[Array, ...] | None = None  # (k·H,) each; the cell's


def late_rows(cell: Cell, w: Weights) -> int:
    """Return how many rows of W_hh, the last ones, multiply another vector than h; mostly 0."""
    late: int = getattr(cell, "late", 0)
    return late * int(w.weight_ih.shape[0] // cell.gates)


def is_plain(w: Weights, late: int) -> bool:
    """Return whether a step has none of this."""
    return not late and w.weight_hr is None and w.own is None


def advance(
    xp: Namespace,
    cell: Any,
    w: Weights,
    late: int,
    ax: Array,
    h: Array,
    state: State,
    recurrent: Array | None,
) -> tuple[State, Any]:
    """Return the new state, and residuals; ``h`` is what of the state goes into W_hh."""
    own = w.own or ()
    if not late:
        new, residuals = cell.step(xp, ax, affine(xp, h, w.weight_hh, w.bias_hh), state, *own)
    else:
        first, second = _halves(w, late)
        ah = affine(xp, h, *first)
        v, kept = cell.early(xp, ax, ah, state)
        if recurrent is not None:
            v = v * recurrent
        ah = xp.concat([ah, affine(xp, v, *second)], axis=1)
        new, residuals = cell.step(xp, ax, ah, state, *own)
        residuals = (v, kept, residuals)
    if w.weight_hr is not None:
        residuals = (new[0], residuals)
        new = (affine(xp, new[0], w.weight_hr), *new[1:])
    return new, residuals


def advance_vjp(
    xp: Namespace,
    cell: Any,
    w: Weights,
    late: int,
    residuals: Any,
    d_state: State,
    recurrent: Array | None,
) -> tuple[Array, Array, State, Array, tuple[Array, ...]]:
    """Return the cotangents of ``ax``, ``ah``, the state and ``h``, and more for `weights_vjp`."""
    more: tuple[Array, ...] = ()
    if w.weight_hr is not None:
        m, residuals = residuals
        more = (m, d_state[0])
        d_state = (affine_vjp_x(xp, w.weight_hr, d_state[0]), *d_state[1:])
    if late:
        v, kept, residuals = residuals
        more = (*more, v)
    d_ax, d_ah, d_before, *d_own = cell.step_vjp(xp, residuals, d_state, *(w.own or ()))
    more = (*more, *d_own)
    if not late:
        return d_ax, d_ah, d_before, affine_vjp_x(xp, w.weight_hh, d_ah), more
    (first, _), (second, _) = _halves(w, late)
    d_v = affine_vjp_x(xp, second, d_ah[:, -late:])
    if recurrent is not None:
        d_v = d_v * recurrent
    early_ax, early_ah, early = cell.early_vjp(xp, kept, d_v)
    # One array for both, or two, as the cell has it.
    same = d_ax is d_ah and early_ax is early_ah
    d_ah = d_ah + early_ah
    d_ax = d_ah if same else d_ax + early_ax
    d_before = tuple(_plus(*pair) for pair in zip(d_before, early, strict=True))
    return d_ax, d_ah, d_before, affine_vjp_x(xp, first, d_ah[:, :-late]), more


def weights_vjp(
    xp: Namespace,
    w: Weights,
    late: int,
    x: Array,
    h: Array,
    rows: list[Array],
    products: Products,
) -> tuple[Weights, Array]:
    """Return the cotangents of the weights, and that of ``ax``, from all steps (T, B, ...).

    ``h`` is what went into W_hh. Of ``rows``, the last are d_ax and, if it is another array, d_ah;
    before them comes what more `advance_vjp` handed out.
    """
    rows = list(rows)
    projected = (rows.pop(0), rows.pop(0)) if w.weight_hr is not None else None
    v = rows.pop(0) if late else None
    d_own = [products.bias(xp, own, rows.pop(0)) for own in w.own or ()]
    d_ax, d_ah = rows[0], rows[-1]
    if v is None:
        d_w_hh = products.weight(xp, h, d_ah)
    else:
        # Side by side they would be one array; a sum is what `products` promise to have.
        first, second = d_ah[:, :, :-late], d_ah[:, :, -late:]
        of_h = xp.concat([first, xp.zeros_like(second)], axis=2)
        of_v = xp.concat([xp.zeros_like(first), second], axis=2)
        d_w_hh = products.weight(xp, h, of_h) + products.weight(xp, v, of_v)
    return Weights(
        weight_ih=products.weight(xp, x, d_ax),
        weight_hh=d_w_hh,
        bias_ih=products.bias(xp, w.bias_ih, d_ax),
        bias_hh=products.bias(xp, w.bias_hh, d_ah),
        weight_hr=None if projected is None else products.weight(xp, *projected),
        own=None if w.own is None else tuple(d_own),
    ), d_ax


def _halves(w: Weights, late: int) -> tuple[tuple[Array, Any], tuple[Array, Any]]:
    """Return weights and biases of the gates that multiply h, and of the late ones."""
    b = w.bias_hh
    if b is None:
        return (w.weight_hh[:-late, :], None), (w.weight_hh[-late:, :], None)
    return (w.weight_hh[:-late, :], b[:-late]), (w.weight_hh[-late:, :], b[-late:])


def _plus(a: Array | None, b: Array | None) -> Array | None:
    return b if a is None else a if b is None else a + b
