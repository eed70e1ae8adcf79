"""The negative log-likelihood of normal distributions."""

import math

from ..mutant import Mutant, loss
from .definition import CLASSES, Case, Definition, unit

__all__ = ["DEFINITION", "MUTANTS"]

FEATURES = CLASSES // 2


def gaussian_nll(num, outputs, targets, weights, full=False):
    """``Σ w (log v + (y - m)² / v) / 2``, and its constant."""
    total, count = num.number(0), 0.0
    constant = math.log(2 * math.pi) / 2 if full else 0.0
    for o, y, w in zip(outputs, targets, weights, strict=True):
        count += float(w) * len(y)
        for m, s, t in zip(o[: len(y)], o[len(y) :], y, strict=True):
            d = float(t) - m
            total = total + float(w) * ((s + d * d / num.exp(s)) / 2 + constant)
    return total, count


def half(rng, shape):
    return unit(rng, shape)[..., :FEATURES]


def by_torch(torch, outputs, targets, reduction, full=False):
    mean, variance = outputs[:, :FEATURES], outputs[:, FEATURES:].exp()
    options = {"eps": 1e-300, "full": full, "reduction": reduction}
    return torch.nn.functional.gaussian_nll_loss(mean, targets, variance, **options)


DEFINITION = Definition(
    gaussian_nll,
    {
        "gaussian": Case(half, {}, {}),
        "gaussian-full": Case(half, {"full": True}, {"full": True}),
    },
    torch=by_torch,
    parameters=2,
)

MUTANTS = [
    Mutant(
        "mean over all outputs",
        "losses/distributions.py",
        "of_numbers, features=both // 2)",
        "of_numbers)",
        loss("gaussian"),
    ),
    Mutant(
        "no difference times an infinite precision",
        "losses/distributions.py",
        "precision = xp.exp(-0.5 * xp.where(mean == y, xp.zeros_like(s), s))",
        "precision = xp.exp(-0.5 * s)",
        "tests/test_losses_options.py::test_a_small_variance_does_not_overflow",
    ),
    Mutant(
        "gradient of the variance, not of its logarithm",
        "losses/distributions.py",
        "slopes = [z * precision, 0.5 - 0.5 * z * z]",
        "slopes = [z * precision, (0.5 - 0.5 * z * z) * precision * precision]",
        loss("gaussian"),
    ),
]
