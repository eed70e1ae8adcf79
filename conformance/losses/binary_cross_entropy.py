"""The cross-entropy of independent probabilities, from logits."""

from .definition import Case, Definition, unit

__all__ = ["DEFINITION"]


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
