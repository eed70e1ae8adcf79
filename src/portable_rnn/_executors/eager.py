"""The time loop in Python, for every library."""

from dataclasses import dataclass
from typing import Any

from .._arrays.functions import stack
from .._arrays.namespace import PLAIN, Array, Namespace
from .._engine.recurrence import Weights
from .._engine.setup import Sequence, Setup, Step
from .base import Executor

__all__ = ["EAGER", "ON_GPU", "WHOLE", "Eager", "pays"]

STEPS, BATCH = 16, 4


def pays(steps: int, batch: int) -> bool:
    """Return whether transposed weights save more time than it takes to transpose them."""
    return steps >= STEPS and batch >= BATCH


@dataclass(frozen=True)
class Eager(Executor):
    """Steps one after another, as Python comes to them.

    A sequence is a **list of steps**: nothing is copied, and what one step keeps (its residuals)
    stays the very array it was.
    """

    whole_sequence: bool = False
    gpu: bool = False

    def prepare(self, setup: Setup, w: Weights, size: tuple[int, int]) -> Weights:
        """Transpose what NumPy multiplies by at each step: BLAS then takes down to 0.4 of the time.

        Other libraries lay out the factors of a product themselves.
        """
        weight, (steps, batch) = w.hh.weight, size
        if not pays(steps, batch) or PLAIN.get(type(weight)) is not setup.xp:
            return w
        return w._replace(hh=w.hh._replace(transposed=weight.T.copy()))

    def scan(
        self, f: Step, carry: Any, xs: tuple[Sequence, ...], *, reverse: bool = False
    ) -> tuple[Any, Any]:
        """Apply ``f`` to one step after another."""
        steps = list(zip(*xs, strict=True))
        ys = []
        for x_t in reversed(steps) if reverse else steps:
            carry, y_t = f(carry, x_t)
            ys.append(y_t)
        if reverse:
            ys.reverse()
        return carry, tuple(map(list, zip(*ys, strict=True)))

    def split(self, array: Array | None, steps: int) -> Sequence:
        """Return views of the steps of an array."""
        return [None] * steps if array is None else [array[t, ...] for t in range(steps)]

    def join(self, xp: Namespace, sequence: Sequence) -> Array:
        """Copy the steps into one array."""
        return stack(xp, sequence)

    def shift(
        self, xp: Namespace, first: Array, sequence: Sequence, *, reverse: bool = False
    ) -> Sequence:
        """Return a list of the same steps, one late."""
        return [*sequence[1:], first] if reverse else [first, *sequence[:-1]]


EAGER, WHOLE, ON_GPU = Eager(), Eager(whole_sequence=True), Eager(gpu=True)
