"""One step of a layer, as a pair; extras of a step are a pair around a pair.

::

    Plain        state' = cell.step(ax, h W_hhᵀ + b_hh, state, *own)
    TwoProducts  v = cell.before_product(ax, h W_hhᵀ + b_hh, state)    the last rows of W_hh times v
    Projected    h' = m W_hrᵀ, where m is the hidden state of the inner pair
    Held         the new state where ``update`` is true, and the old one elsewhere

``step`` returns the new state, and residuals. ``step_vjp`` returns the cotangent of the old state,
and rows: what the gradients of the weights need from this step. After the time loop, the rows of
all steps (T, B, ...) are given to ``weights_vjp``, with ``x`` and the hidden states ``h`` before
each step; it returns the cotangents of the weights, and that of ``ax``.

A pair holds no arrays. The weights are ``w``; arguments that differ between steps come last.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from .._arrays.namespace import Array, Namespace
from ..cells import Cell, State
from .affine import Linear, Products
from .select import choose, choose_vjp

__all__ = [
    "Held",
    "Plain",
    "Projected",
    "Recurrence",
    "TwoProducts",
    "Weights",
    "added",
    "plus",
    "recurrence_of",
]

Rows: TypeAlias = tuple[Array, ...]
Recurrence: TypeAlias = "Plain | TwoProducts | Projected | Held"


class Weights(NamedTuple):
    """The parameters of one layer, or their gradients."""

    ih: Linear  # (G·H, I); U and b of the book
    hh: Linear  # (G·H, H); W
    hr: Any = None  # Linear (P, H); then h has size P, and the weight of hh is (G·H, P)
    own: tuple[Array, ...] = ()  # (k·H,) each; the cell's
    prepared: Any = None  # an executor's own form of them


def recurrence_of(cell: Cell, *, projected: bool = False, held: bool = False) -> Recurrence:
    """Return the recurrence of a layer; ``held`` if its steps get an update."""
    found: Recurrence = TwoProducts(cell) if getattr(cell, "second_product", 0) else Plain(cell)
    if projected:
        found = Projected(found)
    return Held(found) if held else found


@dataclass(frozen=True)
class Plain:
    """One product, then the cell."""

    cell: Any

    def step(self, xp: Namespace, w: Weights, state: State, ax: Array) -> tuple[State, Any]:
        """Return the new state, and residuals."""
        ah = w.hh(xp, state[0])
        return self.cell.step(xp, ax, ah, state, *w.own)  # type: ignore[no-any-return]

    def step_vjp(
        self, xp: Namespace, w: Weights, residuals: Any, d_state: State
    ) -> tuple[State, Rows]:
        """Go back through the cell, then through W_hh (equation 10.21)."""
        d_ax, d_ah, d_before, *d_own = self.cell.step_vjp(xp, residuals, d_state, *w.own)
        d_h = w.hh.vjp_x(xp, d_ah)
        # A cell that uses only ax + ah returns one array twice: keep it once.
        rows = (*d_own, d_ax) if d_ax is d_ah else (*d_own, d_ax, d_ah)
        return (plus(d_h, d_before[0]), *d_before[1:]), rows

    def weights_vjp(
        self, xp: Namespace, w: Weights, x: Array, h: Array, rows: Rows, products: Products
    ) -> tuple[Weights, Array]:
        """Return the cotangents of equations 10.23 to 10.28."""
        d_own, d_ax, d_ah = _apart(w, rows)
        return Weights(
            ih=w.ih.vjp_parameters(xp, x, d_ax, products),
            hh=w.hh.vjp_parameters(xp, h, d_ah, products),
            own=_own_vjp(xp, w, d_own, products),
        ), d_ax


@dataclass(frozen=True)
class TwoProducts:
    """Two products: the second is of ``v``, which the cell computes from the first gates."""

    cell: Any

    def step(self, xp: Namespace, w: Weights, state: State, ax: Array) -> tuple[State, Any]:
        """Return the new state, and residuals."""
        first, second = self._halves(w)
        ah = first(xp, state[0])
        v, first_residuals = self.cell.before_product(xp, ax, ah, state)
        ah = xp.concat([ah, second(xp, v)], axis=1)
        state, residuals = self.cell.step(xp, ax, ah, state, *w.own)
        return state, (v, first_residuals, residuals)

    def step_vjp(
        self, xp: Namespace, w: Weights, residuals: Any, d_state: State
    ) -> tuple[State, Rows]:
        """Go back through the cell, the second product, ``before_product``, the first product."""
        v, first_residuals, residuals = residuals
        first, second = self._halves(w)
        size = first.weight.shape[0]
        d_ax, d_ah, d_before, *d_own = self.cell.step_vjp(xp, residuals, d_state, *w.own)
        d_v = second.vjp_x(xp, d_ah[:, size:])
        first_ax, first_ah, first_before = self.cell.before_product_vjp(xp, first_residuals, d_v)
        same = d_ax is d_ah and first_ax is first_ah
        d_ah = d_ah + first_ah
        d_ax = d_ah if same else d_ax + first_ax
        d_before = tuple(map(plus, d_before, first_before))
        d_h = first.vjp_x(xp, d_ah[:, :size])
        rows = (v, *d_own, d_ax) if same else (v, *d_own, d_ax, d_ah)
        return (plus(d_h, d_before[0]), *d_before[1:]), rows

    def weights_vjp(
        self, xp: Namespace, w: Weights, x: Array, h: Array, rows: Rows, products: Products
    ) -> tuple[Weights, Array]:
        """Return the cotangents as for one product, but for W_hh the sum of two, for h and v."""
        d_own, d_ax, d_ah = _apart(w, rows[1:])
        size = self._halves(w)[0].weight.shape[0]
        # A sum, since results of `products` need not support concatenation of rows.
        first, second = d_ah[:, :, :size], d_ah[:, :, size:]
        of_h = xp.concat([first, xp.zeros_like(second)], axis=2)
        of_v = xp.concat([xp.zeros_like(first), second], axis=2)
        d_hh = w.hh.vjp_weight(xp, h, of_h, products)
        d_hh = d_hh + w.hh.vjp_weight(xp, rows[0], of_v, products)
        return Weights(
            ih=w.ih.vjp_parameters(xp, x, d_ax, products),
            hh=Linear(d_hh, products.bias(xp, w.hh.bias, d_ah)),
            own=_own_vjp(xp, w, d_own, products),
        ), d_ax

    def _halves(self, w: Weights) -> tuple[Linear, Linear]:
        """Return the product with ``h`` and the product with ``v``."""
        gates, second = self.cell.gates, self.cell.second_product
        size = w.hh.weight.shape[0] // gates * (gates - second)
        return w.hh.rows(slice(None, size)), w.hh.rows(slice(size, None))


@dataclass(frozen=True)
class Projected:
    """The hidden state is a projection of the inner pair's hidden state."""

    inner: Recurrence

    def step(self, xp: Namespace, w: Weights, state: State, ax: Array) -> tuple[State, Any]:
        """Return the new state, and residuals."""
        (m, *rest), residuals = self.inner.step(xp, w, state, ax)
        return (w.hr(xp, m), *rest), (m, residuals)

    def step_vjp(
        self, xp: Namespace, w: Weights, residuals: Any, d_state: State
    ) -> tuple[State, Rows]:
        """Go back through the projection, then through the inner pair."""
        m, residuals = residuals
        d_h, *d_rest = d_state
        d_state = (w.hr.vjp_x(xp, d_h), *d_rest)
        d_before, rows = self.inner.step_vjp(xp, w, residuals, d_state)
        return d_before, (m, d_h, *rows)

    def weights_vjp(
        self, xp: Namespace, w: Weights, x: Array, h: Array, rows: Rows, products: Products
    ) -> tuple[Weights, Array]:
        """Return the cotangents of the inner pair, with that of the projection."""
        m, d_h, *rest = rows
        d_w, d_ax = self.inner.weights_vjp(xp, w, x, h, tuple(rest), products)
        return d_w._replace(hr=w.hr.vjp_parameters(xp, m, d_h, products)), d_ax


@dataclass(frozen=True)
class Held:
    """The new state replaces the old where an update, one per state array, is true.

    For sequences with gaps, and for zoneout; see ``_engine/select.py``.
    """

    inner: Recurrence

    def step(
        self, xp: Namespace, w: Weights, state: State, ax: Array, *update: Array
    ) -> tuple[State, Any]:
        """Return the new state, and residuals."""
        new, residuals = self.inner.step(xp, w, state, ax)
        return choose(xp, update, new, state), residuals

    def step_vjp(
        self, xp: Namespace, w: Weights, residuals: Any, d_state: State, *update: Array
    ) -> tuple[State, Rows]:
        """Add the cotangent that bypasses the step to the one that goes back through it."""
        d_new, d_old = choose_vjp(xp, update, d_state)
        d_before, rows = self.inner.step_vjp(xp, w, residuals, d_new)
        return tuple(map(xp.add, d_before, d_old)), rows

    def weights_vjp(
        self, xp: Namespace, w: Weights, x: Array, h: Array, rows: Rows, products: Products
    ) -> tuple[Weights, Array]:
        """Return the cotangents of the inner pair."""
        return self.inner.weights_vjp(xp, w, x, h, rows, products)


def plus(a: Array | None, b: Array | None) -> Array | None:
    """Add two cotangents; None is zero."""
    return b if a is None else a if b is None else a + b


def added(total: Any, part: Any) -> Any:
    """Add a tree of new arrays to another, in place where arrays can be written; None is zero."""
    if total is None or part is None:
        return part if total is None else total
    if isinstance(total, tuple):
        both = map(added, total, part)
        return type(total)(*both) if hasattr(total, "_fields") else tuple(both)
    total += part
    return total


def _apart(w: Weights, rows: Rows) -> tuple[Rows, Array, Array]:
    """Return the rows of the cell's own vectors, of ax, and of ah, which may be the same."""
    own = len(w.own)
    return rows[:own], rows[own], rows[-1]


def _own_vjp(xp: Namespace, w: Weights, d_own: Rows, products: Products) -> tuple[Any, ...]:
    """Return the cotangents of the cell's own vectors."""
    return tuple(products.bias(xp, own, d) for own, d in zip(w.own, d_own, strict=True))
