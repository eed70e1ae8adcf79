"""The negative log-likelihood of counts."""

import math

from ..mutant import Mutant, loss
from .definition import CLASSES, Case, Definition

__all__ = ["DEFINITION", "MUTANTS"]


def poisson_nll(num, outputs, targets, weights, full=False):
    """``Σ w (exp(o) - y o)``, and Stirling's approximation."""
    total, count = num.number(0), 0.0
    for o, y, w in zip(outputs, targets, weights, strict=True):
        count += float(w) * len(y)
        for v, t in zip(o, map(float, y), strict=True):
            total = total + float(w) * (num.exp(v) - t * v)
            if full and t > 1:
                total = total + float(w) * (t * math.log(t) - t + math.log(2 * math.pi * t) / 2)
    return total, count


def counts(rng, shape):
    return rng.integers(0, 6, (*shape, CLASSES)).astype("float64")


DEFINITION = Definition(
    poisson_nll,
    {
        "poisson": Case(counts, {}, {}),
        "poisson-full": Case(counts, {"full": True}, {"full": True}),
    },
    torch="poisson_nll_loss",
)

MUTANTS = [
    Mutant(
        "gradient of the rate, not of its logarithm",
        "losses/distributions.py",
        "return losses, rate - y",
        "return losses, 1.0 - y / rate",
        loss("poisson"),
    ),
    Mutant(
        "Stirling's root left out",
        "losses/distributions.py",
        "stirling = many * log_y - many + 0.5 * (math.log(2.0 * math.pi) + log_y)",
        "stirling = many * log_y - many",
        loss("poisson-full"),
    ),
]
