"""The contents of a cell's page."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Kind"]


@dataclass(frozen=True)
class Kind:
    """A cell, possibly with options, and an independent version of its formulas.

    ``step(num, w, ax, state)`` is one step over scalars, written from the paper and sharing nothing
    with the library: ``num`` is the kind of number, ``w`` has the parameters of the layer by name,
    ``ax`` is ``x W_ihᵀ + b_ih``, a list, and ``state`` a tuple of lists. It returns the new state.
    """

    name: str
    step: Callable[..., Any]
    options: Mapping[str, Any]  # of `RNN`; parameters of activations have few bits
    seed: int  # of its arrays; unique and never changed, since stored results depend on it
