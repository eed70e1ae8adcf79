"""Stochastic gradient descent, with momentum or without."""

from ..mutant import Mutant, optimizer
from .rule import Rule

__all__ = ["MUTANTS", "RULES"]


def sgd(p, g, kept, _, *, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
    """Polyak (1964); with ``nesterov``, Sutskever et al. (2013) as in torch.optim."""
    g = g + weight_decay * p
    if momentum == 0.0:
        return p - lr * g
    kept["momentum"] = momentum * kept.get("momentum", 0.0) + g
    return p - lr * (g + momentum * kept["momentum"] if nesterov else kept["momentum"])


HEAVY = {"momentum": 0.875}
NESTEROV = HEAVY | {"nesterov": True}
RULES = [
    Rule(
        sgd,
        cases={
            "sgd": {"lr": 0.125},
            "sgd-decay": {"lr": 0.125, "weight_decay": 0.25},
            "sgd-momentum": {"lr": 0.125, **HEAVY},
            "sgd-nesterov": {"lr": 0.125, **NESTEROV},
        },
        any_size={
            "sgd": {"lr": 2.0**-7},
            "sgd-momentum": {"lr": 2.0**-7, **HEAVY},
            "sgd-nesterov": {"lr": 2.0**-7, **NESTEROV},
        },
        others={"sgd-all": {"lr": 0.125, **NESTEROV, "weight_decay": 0.25}},
        torch="SGD",
    )
]

MUTANTS = [
    Mutant(
        "Nesterov's momentum left out",
        "optimizers/descent.py",
        "return u.p - u.lr * g - u.lr * momentum * m, m",
        "return u.p - u.lr * m, m",
        optimizer("five_steps_equal_the_formulas", "sgd-nesterov"),
    ),
]
