"""What the loop of a compiled layer keeps for the way back."""

from collections.abc import Iterable
from typing import NamedTuple

from .._arrays.namespace import Array

__all__ = ["Record", "rows_of"]


class Record(NamedTuple):
    """The states of all steps, and what else the cell's derivative reads."""

    reverse: bool
    update: tuple[Array, ...]
    scale: Array | None
    states: Array  # (S, T+1, B, H); in reverse, the state before all steps is the last
    stored: Array  # (R, T, B, H)

    @property
    def hidden(self) -> Array:
        """The hidden state after each step, (T, B, H)."""
        found: Array = self.states[0, :-1] if self.reverse else self.states[0, 1:]
        return found

    @property
    def hidden_before(self) -> Array:
        """The hidden state before each step, (T, B, H)."""
        found: Array = self.states[0, 1:] if self.reverse else self.states[0, :-1]
        return found


def rows_of(
    d_own: Array | None, sizes: Iterable[int], d_ax: Array, d_ah: Array
) -> tuple[Array, ...]:
    """Return what a recurrence's ``weights_vjp`` takes of all steps, as its ``step_vjp`` does.

    Parameters
    ----------
    d_own : array (T, B, K), optional
        Of the cell's own vectors, whose ``sizes`` add up to K.
    sizes : iterable of int
    d_ax, d_ah : array (T, B, G·H)
        One object if the cell sees only the sum.
    """
    found, start = [], 0
    for size in sizes:
        found.append(d_own[:, :, start : start + size])  # type: ignore[index]
        start += size
    return (*found, d_ax) if d_ah is d_ax else (*found, d_ax, d_ah)
