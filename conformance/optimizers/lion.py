"""Lion."""

from ..mutant import Mutant, optimizer
from .rule import Rule

__all__ = ["MUTANTS", "RULES"]


def lion(p, g, kept, _, *, lr, betas=(0.9, 0.99), weight_decay=0.0):
    """Chen et al., arXiv 2302.06675, algorithm 2."""
    mean = kept.get("mean", 0.0)
    mixed = betas[0] * mean + (1.0 - betas[0]) * g
    kept["mean"] = betas[1] * mean + (1.0 - betas[1]) * g
    return p * (1.0 - lr * weight_decay) - lr * ((mixed > 0.0) - (mixed < 0.0))


OPTIONS = {"lr": 0.125, "betas": (0.75, 0.875), "weight_decay": 0.25}
RULES = [
    Rule(
        lion,
        cases={"lion": OPTIONS},
        any_size={"lion": {"lr": 2.0**-7}},
        others={"lion-defaults": {"lr": 2.0**-7}},
        optax="lion",
        jumps=True,
    )
]

MUTANTS = [
    Mutant(
        "the sign of the mean alone",
        "optimizers/descent.py",
        "mixed = beta1 * (mean * unit) + (1.0 - beta1) * (u.g * unit)",
        "mixed = beta2 * (mean * unit) + (1.0 - beta2) * (u.g * unit)",
        optimizer("five_steps_equal_the_formulas", "lion"),
    ),
    Mutant(
        "the sign of small numbers that vanish",
        "optimizers/descent.py",
        "unit = xp.where(small, 2.0**24 * one, one)",
        "unit = one",
        optimizer("gradients_of_any_size_take_the_step_of_the_formulas", "lion-0.0").replace(
            "float64", "float32"
        ),
    ),
]
