"""The cross-entropy of independent probabilities, from logits."""

from ..mutant import Mutant
from .definition import Case, Definition, unit

__all__ = ["DEFINITION", "MUTANTS"]


def binary_cross_entropy(num, outputs, targets, weights):
    """``-Σ w (y log s(o) + (1 - y) log s(-o))``."""
    total, count = num.number(0), 0.0
    for o, y, w in zip(outputs, targets, weights, strict=True):
        count += float(w) * len(y)
        for v, t in zip(o, y, strict=True):
            yes, no = num.log(num.sigmoid(v)), num.log(num.sigmoid(-v))
            total = total - float(w) * (float(t) * yes + (1 - float(t)) * no)
    return total, count


DEFINITION = Definition(
    binary_cross_entropy,
    {"logits": Case(unit, {}, {})},
    torch="binary_cross_entropy_with_logits",
)

MUTANTS = [
    Mutant(
        "magnitude where nothing analytic has one",
        "losses/binary.py",
        "shrinking = xp.exp(xp.where(positive, -o, o))",
        "shrinking = xp.exp(-xp.abs(o))",
        "tests/test_curvature.py::test_hvp_is_the_slope_of_the_gradient[elman-logits]",
    ),
]
