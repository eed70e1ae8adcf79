"""The focal loss of independent probabilities, from logits."""

from ..mutant import Mutant, loss
from .definition import CLASSES, Case, Definition, unit

__all__ = ["DEFINITION", "MUTANTS"]


def binary_focal_cross_entropy(num, outputs, targets, weights, gamma=2.0, alpha=None):
    """``Σ w a m**gamma`` times the cross-entropy."""
    total, count = num.number(0), 0.0
    for o, y, w in zip(outputs, targets, weights, strict=True):
        count += float(w) * len(y)
        for v, t in zip(o, map(float, y), strict=True):
            p, q = num.sigmoid(v), num.sigmoid(-v)
            entropy = -(t * num.log(p) + (1 - t) * num.log(q))
            factor = num.exp(gamma * num.log(t * q + (1 - t) * p))
            share = 1.0 if alpha is None else alpha * t + (1 - alpha) * (1 - t)
            total = total + float(w) * share * factor * entropy
    return total, count


def yes_or_no(rng, shape):
    return rng.integers(0, 2, (*shape, CLASSES)).astype("float64")


def by_torch(torch, outputs, targets, reduction, gamma=2.0, alpha=None):
    p = torch.sigmoid(outputs)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    found = entropy(outputs, targets, reduction="none")
    found = found * (p + targets - 2 * p * targets) ** gamma
    if alpha is not None:
        found = found * (alpha * targets + (1 - alpha) * (1 - targets))
    return found.mean() if reduction == "mean" else found.sum()


def case_of(targets, **options):
    return Case(targets, options, options)


DEFINITION = Definition(
    binary_focal_cross_entropy,
    {
        "focal": case_of(yes_or_no),
        "focal-0": case_of(unit, gamma=0.0),
        "focal-root": case_of(yes_or_no, gamma=0.5),
        "focal-alpha": case_of(unit, alpha=0.25),
    },
    torch=by_torch,
)

MUTANTS = [
    Mutant(
        "factor taken for a constant",
        "losses/binary.py",
        "slope = slope * factor + gamma * (1.0 - 2.0 * y) * multiply(xp, p * q, ratio)",
        "slope = slope * factor",
        loss("focal"),
    ),
    Mutant(
        "small gradient lost to rounding",
        "losses/binary.py",
        "slope = (1.0 - y) * p - y * q",
        "slope = p - y",
        "tests/test_losses_options.py::"
        "test_the_focal_loss_of_the_other_target_is_its_mirror_image[float32]",
    ),
    Mutant(
        "weight of the other target",
        "losses/binary.py",
        "share = alpha * y + (1.0 - alpha) * (1.0 - y)",
        "share = alpha * (1.0 - y) + (1.0 - alpha) * y",
        loss("focal-alpha"),
    ),
]
