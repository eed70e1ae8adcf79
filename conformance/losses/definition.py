"""The contents of a loss's page."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["CLASSES", "FACTORS", "Case", "Definition", "labels", "probabilities", "unit"]

CLASSES = 6  # or features
FACTORS = np.asarray([0.5, 1.0, 2.0, 0.0, 1.5, 1.0])  # of classes


@dataclass(frozen=True)
class Case:
    """Options, ours and those of ``torch.nn.functional``, and targets: a function of rng, shape."""

    targets: Callable[..., Any]
    options: Mapping[str, Any]
    torch: Mapping[str, Any]


@dataclass(frozen=True)
class Definition:
    """A loss, written independently from its definition.

    ``total(num, outputs, targets, weights, **options)`` takes rows of numbers of the kind
    ``num``; it returns the sum over all of them, and the weight that its mean is divided by.
    """

    total: Callable[..., Any]
    cases: Mapping[str, Case]  # by name
    # A function of torch.nn.functional that does the same, or one of torch and its arguments.
    torch: str | Callable[..., Any] | None = None
    labels: bool = False  # whether targets may be labels instead of rows

    parameters: int = 1  # outputs for each target

    def fit(self, rows):
        """Return targets for outputs of so many features, from rows like the outputs."""
        return rows[..., : rows.shape[-1] // self.parameters]

    @property
    def name(self) -> str:
        return self.total.__name__


def labels(rng, shape):
    """Draw labels, the first and the last class among them."""
    found = rng.integers(0, CLASSES, shape)
    found[0, 0], found[1, 1] = 0, CLASSES - 1
    return found


def probabilities(rng, shape):
    """Draw rows that add up to 1."""
    found = unit(rng, shape)
    return found / found.sum(axis=-1, keepdims=True)


def unit(rng, shape):
    """Draw rows of numbers from 0 to 1."""
    return rng.uniform(0.0, 1.0, (*shape, CLASSES))
