"""The mean squared error."""

from .definition import Case, Definition, unit

__all__ = ["DEFINITION"]


def mean_squared_error(num, outputs, targets, weights):
    """``Σ w (o - y)²``."""
    total, count = num.number(0), 0.0
    for o, y, w in zip(outputs, targets, weights, strict=True):
        count += float(w) * len(y)
        for v, t in zip(o, y, strict=True):
            total = total + float(w) * (v - float(t)) * (v - float(t))
    return total, count


DEFINITION = Definition(mean_squared_error, {"squares": Case(unit, {}, {})}, torch="mse_loss")
