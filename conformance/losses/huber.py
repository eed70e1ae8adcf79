"""The Huber loss."""

from ..mutant import Mutant, loss
from .definition import Case, Definition, unit

__all__ = ["DEFINITION", "MUTANTS"]


def huber(num, outputs, targets, weights, delta=1.0):
    """``Σ w d² / 2``, and beyond ``delta`` a straight line."""
    total, count = num.number(0), 0.0
    for o, y, w in zip(outputs, targets, weights, strict=True):
        count += float(w) * len(y)
        for v, t in zip(o, y, strict=True):
            d = v - float(t)
            d = d if d.data > 0 else -d
            far = delta * d - delta * delta / 2
            total = total + float(w) * (far if d.data > delta else d * d / 2)
    return total, count


DEFINITION = Definition(
    huber,
    {
        "huber": Case(unit, {}, {}),
        "huber-delta": Case(unit, {"delta": 2.5}, {"delta": 2.5}),
    },
    torch="huber_loss",
)

MUTANTS = [
    Mutant(
        "squares alone",
        "losses/regression.py",
        "slope = xp.where(size > delta, bound, xp.where(size < -delta, -bound, d))",
        "slope = d",
        loss("huber"),
    ),
    Mutant(
        "differences below 0 without a bound",
        "losses/regression.py",
        "xp.where(size > delta, bound, xp.where(size < -delta, -bound, d))",
        "xp.where(size > delta, bound, d)",
        loss("huber-delta"),
    ),
]
