"""The factors of gradients, before they are summed over steps and sequences.

The gradient of a weight is a sum over all steps and sequences, ``Σ d_yᵀ x``. One backward pass
gives both factors for all of them, from which the part of any steps or sequences can be computed.
"""

from typing import TypeAlias

from .._arrays.namespace import Array, Namespace
from .._calls.call import Call
from .._engine.affine import Products

__all__ = ["FACTORS", "NO_FACTORS", "Factors", "sum_of"]

# Pairs of x (t, B, I), None for a bias, and d_y (t, B, O), one for each chunk of time; for an
# embedding, of tokens (t, B) and the cotangents of their vectors.
Factors: TypeAlias = list[tuple[Array | None, Array]]

_ALL = slice(None)


def sum_of(
    call: Call, parts: Factors, like: Array, steps: slice = _ALL, sequences: slice = _ALL
) -> Array:
    """Return what some steps and sequences add to the gradient of a parameter.

    ``like`` is the parameter. With more than one chunk of time, ``steps`` are those of each chunk.
    """
    xp, sums, total = call.setup.xp, call.setup.executor.sums, None
    for x, d_y in parts:
        d_part = d_y[steps, sequences, :]
        if x is None:
            part = sums.bias(xp, like, d_part)
        elif x.ndim == 2:  # tokens
            part = sums.tokens(xp, x[steps, sequences], d_part, like.shape[0])
        else:
            part = sums.weight(xp, x[steps, sequences, :], d_part)
        total = part if total is None else total + part
    return xp.astype(total, like.dtype, copy=False)


def _pair(xp: Namespace, x: Array, d_y: Array) -> Factors:
    return [(x, d_y)]


def _lone(xp: Namespace, bias: Array | None, d_y: Array) -> Factors | None:
    return None if bias is None else [(None, d_y)]


def _tokens(xp: Namespace, tokens: Array, d_x: Array, count: int) -> Factors:
    return [(tokens, d_x)]


def _both(xp: Namespace, one: Factors, other: Factors) -> Factors:
    """Put the inputs from both directions side by side; the chunks come in opposite orders."""
    return [
        (xp.concat([x, x_reverse], axis=2), d_y)
        for (x, d_y), (x_reverse, _) in zip(one, reversed(other), strict=True)
    ]


def _nothing(*factors: object) -> Factors:
    return []


FACTORS = Products(weight=_pair, bias=_lone, concat=_both, tokens=_tokens)
# For a pass of which no gradient of a parameter is asked for.
NO_FACTORS = Products(weight=_nothing, bias=_nothing, concat=_nothing, tokens=_nothing)
