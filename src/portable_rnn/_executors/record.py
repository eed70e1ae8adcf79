"""What the loop of a compiled layer keeps for the way back."""

from typing import NamedTuple

from .._arrays.namespace import Array

__all__ = ["Record"]


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
