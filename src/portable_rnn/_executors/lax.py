"""The time loop of XLA, for arrays that JAX traces."""

import sys
from dataclasses import dataclass
from typing import Any

from .._arrays.namespace import Array, Namespace
from .._engine.affine import AT_ONCE, Products
from .._engine.embedding import sums_by_token
from .._engine.setup import Sequence, Step
from .base import Executor

__all__ = ["LAX", "Lax"]


@dataclass(frozen=True)
class Lax(Executor):
    """``jax.lax.scan``.

    A sequence is **one array** (T, ...), or a tuple of them: what ``lax.scan`` consumes.
    """

    whole_sequence = True
    stepwise = False

    @property
    def sums(self) -> Products:
        """Sums that XLA sees as a whole; it can also sort."""
        return AT_ONCE._replace(tokens=sums_by_token)

    def scan(
        self, f: Step, carry: Any, xs: tuple[Sequence, ...], *, reverse: bool = False
    ) -> tuple[Any, Any]:
        """Have XLA run the loop."""
        # Where arrays are traced jax is loaded, and stays un-imported here.
        return sys.modules["jax"].lax.scan(f, carry, xs, reverse=reverse)  # type: ignore[no-any-return]

    def split(self, array: Array | None, steps: int) -> Sequence:
        """Return the array itself."""
        return array

    def join(self, xp: Namespace, sequence: Sequence) -> Array:
        """Return the array itself."""
        return sequence

    def shift(
        self, xp: Namespace, first: Array, sequence: Sequence, *, reverse: bool = False
    ) -> Sequence:
        """Return an array of the same steps, one late."""
        lone = xp.expand_dims(first, axis=0)
        return xp.concat([sequence[1:, ...], lone] if reverse else [lone, sequence[:-1, ...]])


LAX = Lax()
