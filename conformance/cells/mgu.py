"""The minimal gated unit."""

from ..mutant import Mutant, gradients
from ..oracles.scalars import recurrent
from .kind import Kind

__all__ = ["KINDS", "MUTANTS"]


def mgu(num, w, ax, state):
    """``f``, then ``n``; the gate comes after the product, as in torch's GRU."""
    (h,), size = state, len(state[0])
    ah, after = recurrent(w, h), []
    for j in range(size):
        f = num.sigmoid(ax[j] + ah[j])
        n = num.tanh(ax[size + j] + f * ah[size + j])
        after.append((1 - f) * h[j] + f * n)
    return (after,)


KINDS = [Kind("mgu", mgu, {"cell": "mgu"}, seed=3)]
MUTANTS = [
    Mutant(
        "one gate with one of its two cotangents",
        "cells/mgu.py",
        " + d_an * reset * (1.0 - f)",
        "",
        gradients("mgu-default"),
    ),
]
