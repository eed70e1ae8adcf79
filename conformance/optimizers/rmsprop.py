"""RMSProp."""

import math

from ..mutant import Mutant, optimizer
from .rule import Rule

__all__ = ["MUTANTS", "RULES"]


def rmsprop(p, g, kept, _, *, lr, alpha=0.99, eps=1e-8):
    """Hinton (2012), lecture 6e."""
    square = alpha * kept.get("root_mean_square", 0.0) ** 2 + (1.0 - alpha) * g**2
    kept["root_mean_square"] = math.sqrt(square)
    return p - lr * g / (math.sqrt(square) + eps)


RULES = [
    Rule(
        rmsprop,
        cases={"rmsprop": {"lr": 0.125, "alpha": 0.75, "eps": 2.0**-8}},
        any_size={"rmsprop": {"lr": 2.0**-7}},
        torch="RMSprop",
    )
]

MUTANTS = [
    Mutant(
        "eps inside of the root",
        "optimizers/adaptive.py",
        "return u.p - u.lr * (u.g / (root + eps)), root",
        "return u.p - u.lr * (u.g / (root * root + eps) ** 0.5), root",
        optimizer("five_steps_equal_the_formulas", "rmsprop"),
    ),
]
