"""The cosine distance."""

from ..mutant import Mutant, loss
from .definition import Case, Definition, unit

__all__ = ["DEFINITION", "MUTANTS"]


def cosine_distance(num, outputs, targets, weights):
    """``Σ w (1 - o·y / (|o| |y|))``."""
    total, count = num.number(0), 0.0
    for o, y, w in zip(outputs, targets, weights, strict=True):
        count += float(w)
        product = sum((v * float(t) for v, t in zip(o, y, strict=True)), num.number(0))
        squares = sum((v * v for v in o), num.number(0)) * sum(float(t) ** 2 for t in y)
        total = total + float(w) * (1 - product * num.exp(-0.5 * num.log(squares)))
    return total, count


def by_torch(torch, outputs, targets, reduction):
    found = 1.0 - torch.nn.functional.cosine_similarity(outputs, targets, dim=-1)
    return found.mean() if reduction == "mean" else found.sum()


DEFINITION = Definition(cosine_distance, {"cosine": Case(unit, {}, {})}, torch=by_torch)

MUTANTS = [
    Mutant(
        "gradient along the row itself",
        "losses/regression.py",
        "(cosine * along - wanted) / size",
        "-wanted / size",
        loss("cosine"),
    ),
    Mutant(
        "mean over features",
        "losses/regression.py",
        "of_numbers, features=1)",
        "of_numbers)",
        loss("cosine"),
    ),
]
