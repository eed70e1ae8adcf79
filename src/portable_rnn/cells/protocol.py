"""What the engine requires of a cell.

A cell never multiplies matrices and knows nothing of time. It is given the two matrix products
of one step, ``ax = x W_ihᵀ + b_ih`` and ``ah = h W_hhᵀ + b_hh``, both (B, gates·H), and the
state before it, a tuple of arrays (B, H) whose first entry is the hidden state ``h``.

- ``step(xp, ax, ah, state) -> state, residuals``: one step. ``residuals`` is a tuple of arrays, all
  that the derivative will need.
- ``step_vjp(xp, residuals, d_state) -> d_ax, d_ah, d_state_before``: converts the cotangent of the
  new state to those of ``ax``, ``ah`` and the old state. The first entry of ``d_state_before`` is
  None if ``h`` acts only through ``ah``. A cell that uses only the sum ``ax + ah`` returns one
  array twice, and the engine then does the work once.

Three optional members:

- ``vectors``: the cell's own vectors, as a tuple of `Vector`. They enter a step entry by entry,
  never as matrices: ``step`` is given them after the state, ``step_vjp`` after the cotangent, and
  its last results are their cotangents by sequence, (B, multiple·H) each. The engine sums them over
  the batch and over time.
- ``biased = False``: ``ax`` and ``ah`` have no biases, since the cell has its own.
- ``second_product``: how many of the last gates multiply not ``h`` but another vector ``v``
  (B, H), which the cell computes from the gates before them (see `TwoProductCell`).
"""

from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

from .._arrays.namespace import Array, Namespace

__all__ = ["Cell", "Residuals", "State", "StateCotangent", "TwoProductCell", "Vector", "vectors_of"]

State: TypeAlias = tuple[Array, ...]
Residuals: TypeAlias = tuple[Array, ...]
StateCotangent: TypeAlias = tuple[Array | None, ...]


class Vector(NamedTuple):
    """An own vector of a cell: its name, its size in units of H, and its initial value."""

    name: str  # as in the dict of parameters, without layer and direction
    multiple: int
    start: float | None = None  # None: drawn like the weights


@runtime_checkable
class Cell(Protocol):
    """What the engine requires of a cell, which must be hashable, as frozen dataclasses are.

    Examples
    --------
    A cell without gates or weights of its own, ``h' = (ax + ah) / 2``:

    >>> from dataclasses import dataclass
    >>> import portable_rnn as prnn
    >>> @dataclass(frozen=True)
    ... class Average:
    ...     gates = 1
    ...     states = 1
    ...
    ...     def step(self, xp, ax, ah, state):
    ...         return (0.5 * (ax + ah),), ()
    ...
    ...     def step_vjp(self, xp, residuals, d_state):
    ...         d_a = 0.5 * d_state[0]
    ...         return d_a, d_a, (None,)
    >>> isinstance(Average(), prnn.cells.Cell)
    True
    >>> prnn.RNN(input_size=3, hidden_size=4, cell=Average()).parameter_shapes["weight_ih_l0"]
    (4, 3)
    """

    @property
    def gates(self) -> int:
        """Rows of the weights, in units of the hidden size."""

    @property
    def states(self) -> int:
        """Number of state arrays (B, H); the first is the hidden state."""

    # Any: the cotangents of the cell's own vectors follow, if it has any.
    def step(
        self, xp: Namespace, ax: Array, ah: Array, state: State, *own: Array
    ) -> tuple[State, Residuals]:
        """Advance the state by one step."""

    def step_vjp(
        self, xp: Namespace, residuals: Residuals, d_state: State, *own: Array
    ) -> tuple[Any, ...]:
        """Pull the cotangent of the new state back through one step."""


class TwoProductCell(Cell, Protocol):
    """A cell whose last ``second_product`` gates are products with another vector than ``h``.

    First comes ``before_product``, which is given ``ah`` of the other gates; then the engine
    multiplies; then ``step``, which is given ``ah`` of all gates. Both are pointwise.
    """

    @property
    def second_product(self) -> int:
        """Number of gates, the last ones, that are products with ``v``."""

    def before_product(
        self, xp: Namespace, ax: Array, ah: Array, state: State
    ) -> tuple[Array, Residuals]:
        """Return ``v`` (B, H), and residuals."""

    def before_product_vjp(
        self, xp: Namespace, residuals: Residuals, d_v: Array
    ) -> tuple[Array, Array, StateCotangent]:
        """Return what ``v`` adds to the cotangents that `step_vjp` returns."""


def vectors_of(cell: Cell) -> tuple[Vector, ...]:
    """Return a cell's own vectors; most cells have none."""
    return getattr(cell, "vectors", ())
