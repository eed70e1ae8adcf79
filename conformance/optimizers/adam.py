"""Adam, and AdamW, whose decay is no part of the gradient."""

import math

from ..mutant import Mutant, optimizer
from .rule import Rule

__all__ = ["MUTANTS", "RULES"]


def adam(p, g, kept, step, *, lr, betas=(0.9, 0.999), eps=1e-8, amsgrad=False):
    """Kingma and Ba, arXiv 1412.6980, algorithm 1; Reddi et al., arXiv 1904.09237, algorithm 2.

    AMSGrad with the corrections of Adam, as in torch.optim.
    """
    kept["mean"] = betas[0] * kept.get("mean", 0.0) + (1.0 - betas[0]) * g
    square = betas[1] * kept.get("root_mean_square", 0.0) ** 2 + (1.0 - betas[1]) * g**2
    kept["root_mean_square"] = math.sqrt(square)
    if amsgrad:
        square = max(square, kept.get("largest_root_mean_square", 0.0) ** 2)
        kept["largest_root_mean_square"] = math.sqrt(square)
    mean = kept["mean"] / (1.0 - betas[0] ** step)
    return p - lr * mean / (math.sqrt(square / (1.0 - betas[1] ** step)) + eps)


def adamw(p, g, kept, step, *, lr, weight_decay=1e-2, **options):
    """Loshchilov and Hutter, arXiv 1711.05101."""
    return adam(p * (1.0 - lr * weight_decay), g, kept, step, lr=lr, **options)


RULES = [
    Rule(
        adam,
        cases={
            "adam": {"lr": 0.125, "betas": (0.75, 0.875), "eps": 2.0**-8},
            "adam-amsgrad": {"lr": 0.125, "betas": (0.75, 0.5), "eps": 2.0**-8, "amsgrad": True},
        },
        any_size={
            "adam": {"lr": 2.0**-7},
            "adam-small_eps": {"lr": 2.0**-7, "eps": 2.0**-100},
        },
        torch="Adam",
    ),
    Rule(
        adamw,
        cases={"adamw": {"lr": 0.125, "weight_decay": 0.25, "eps": 2.0**-8}},
        any_size={"adamw": {"lr": 2.0**-7}},
        others={"adamw-amsgrad": {"lr": 2.0**-7, "amsgrad": True}},
        torch="AdamW",
    ),
]

MUTANTS = [
    Mutant(
        "mean's correction a step ahead",
        "optimizers/step.py",
        "return 1.0 - beta**step",
        "return 1.0 - beta ** (step + 1)",
        optimizer("five_steps_equal_the_formulas", "adam"),
    ),
    Mutant(
        "AMSGrad that forgets the largest",
        "optimizers/adaptive.py",
        "divisor = u.xp.where(root > u.slots[2], root, u.slots[2]) if amsgrad else root",
        "divisor = root",
        optimizer("five_steps_equal_the_formulas", "adam-amsgrad"),
    ),
]
