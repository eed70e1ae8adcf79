"""The mean squared error."""

from ..mutant import Mutant, loss
from .definition import Case, Definition, unit

__all__ = ["DEFINITION", "MUTANTS"]


def mean_squared_error(num, outputs, targets, weights):
    """``Σ w (o - y)²``."""
    total, count = num.number(0), 0.0
    for o, y, w in zip(outputs, targets, weights, strict=True):
        count += float(w) * len(y)
        for v, t in zip(o, y, strict=True):
            total = total + float(w) * (v - float(t)) * (v - float(t))
    return total, count


DEFINITION = Definition(mean_squared_error, {"squares": Case(unit, {}, {})}, torch="mse_loss")

MUTANTS = [
    Mutant(
        "squares' gradient without the 2",
        "losses/regression.py",
        "weighted * difference, 2.0 * weighted",
        "weighted * difference, weighted",
        loss("squares"),
    ),
]
