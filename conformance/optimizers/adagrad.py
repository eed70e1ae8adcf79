"""Adagrad."""

import math

from ..mutant import Mutant, optimizer
from .rule import Rule

__all__ = ["MUTANTS", "RULES"]


def adagrad(p, g, kept, _, *, lr, eps=1e-10, weight_decay=0.0):
    """Duchi et al., JMLR 12 (2011), with the diagonal of its matrix."""
    g = g + weight_decay * p
    square = kept.get("root_sum_square", 0.0) ** 2 + g**2
    kept["root_sum_square"] = math.sqrt(square)
    return p - lr * g / (math.sqrt(square) + eps)


RULES = [
    Rule(
        adagrad,
        cases={"adagrad": {"lr": 0.125, "eps": 2.0**-8}},
        any_size={"adagrad": {"lr": 2.0**-7}},
        others={"adagrad-decay": {"lr": 0.125, "weight_decay": 0.25}},
        torch="Adagrad",
        sums=True,
    )
]

MUTANTS = [
    Mutant(
        "the last square alone",
        "optimizers/adaptive.py",
        "root = hypotenuse(u.xp, u.slots[0], g)",
        "root = hypotenuse(u.xp, 0.0 * u.slots[0], g)",
        optimizer("five_steps_equal_the_formulas", "adagrad"),
    ),
]
