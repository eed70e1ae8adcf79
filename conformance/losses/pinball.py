"""The pinball loss of quantiles."""

from ..mutant import Mutant, loss
from .definition import Case, Definition, unit

__all__ = ["DEFINITION", "MUTANTS"]

SEVERAL = (0.05, 0.2, 0.5, 0.7, 0.9, 0.95)  # one for each feature


def pinball(num, outputs, targets, weights, quantile=0.5):
    """``Σ w q d`` for targets above the output, else ``Σ w (q - 1) d``."""
    total, count = num.number(0), 0.0
    for o, y, w in zip(outputs, targets, weights, strict=True):
        count += float(w) * len(y)
        shares = quantile if isinstance(quantile, tuple) else (quantile,) * len(y)
        for v, t, q in zip(o, y, shares, strict=True):
            d = float(t) - v
            total = total + float(w) * (q if d.data > 0 else q - 1) * d
    return total, count


def by_torch(torch, outputs, targets, reduction, quantile=0.5):
    q = torch.tensor(quantile, dtype=torch.float64)
    d = targets - outputs
    found = torch.maximum(q * d, (q - 1) * d)
    return found.mean() if reduction == "mean" else found.sum()


DEFINITION = Definition(
    pinball,
    {
        "median": Case(unit, {}, {}),
        "quantile": Case(unit, {"quantile": 0.9}, {"quantile": 0.9}),
        "quantiles": Case(unit, {"quantile": SEVERAL}, {"quantile": SEVERAL}),
    },
    torch=by_torch,
)

MUTANTS = [
    Mutant(
        "sides exchanged",
        "losses/regression.py",
        "slope = xp.where(sign > 0, share, share - 1.0)",
        "slope = xp.where(sign > 0, 1.0 - share, -share)",
        loss("quantile"),
    ),
    Mutant(
        "one quantile for all features",
        "losses/regression.py",
        "share = row(xp, of_features, d.ndim) + xp.zeros_like(sign)",
        "share = of_features[0] + xp.zeros_like(sign)",
        loss("quantiles"),
    ),
]
