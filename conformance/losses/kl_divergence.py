"""The Kullback-Leibler divergence of a softmax from given probabilities."""

import math

import numpy as np

from ..mutant import Mutant, loss
from .definition import Case, Definition, probabilities, unit

__all__ = ["DEFINITION", "MUTANTS"]


def kl_divergence(num, outputs, targets, weights, log_target=False):
    """``Σ w y (log y - log p)``, where y is not 0."""
    total, count = num.number(0), 0.0
    for z, y, w in zip(outputs, targets, weights, strict=True):
        count += float(w)
        shift = max(v.data for v in z)  # of any size: it cancels
        log_sum = num.log(sum(num.exp(v - shift) for v in z))
        for v, t in zip(z, map(float, y), strict=True):
            share = math.exp(t) if log_target else t
            if share > 0:
                total = total + float(w) * share * (math.log(share) - (v - shift - log_sum))
    return total, count


def some_zero(rng, shape):
    found = probabilities(rng, shape)
    found[..., 2] = 0.0
    return found


def logarithms(rng, shape):
    return np.log(probabilities(rng, shape))


def by_torch(torch, outputs, targets, reduction, log_target=False):
    how = "batchmean" if reduction == "mean" else reduction
    log_p = outputs.log_softmax(-1)
    return torch.nn.functional.kl_div(log_p, targets, reduction=how, log_target=log_target)


DEFINITION = Definition(
    kl_divergence,
    {
        "divergence": Case(some_zero, {}, {}),
        "divergence-any-sum": Case(unit, {}, {}),
        "divergence-logarithms": Case(logarithms, {"log_target": True}, {"log_target": True}),
    },
    torch=by_torch,
)

MUTANTS = [
    Mutant(
        "entropy of the targets left out",
        "losses/distributions.py",
        "losses = multiply(xp, y, log_y - log_p)",
        "losses = multiply(xp, y, -log_p)",
        loss("divergence"),
    ),
    Mutant(
        "sum of the probabilities taken for 1",
        "losses/distributions.py",
        "xp.exp(log_p) * sum_over(xp, y, -1, keepdims=True) - y",
        "xp.exp(log_p) - y",
        loss("divergence-any-sum"),
    ),
]
