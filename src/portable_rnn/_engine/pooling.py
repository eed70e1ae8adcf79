"""One vector for each sequence: of its last step, or the mean or maximum over its valid steps.

All three are sums over chosen steps, whose choice is kept for the way back.
"""

from typing import Any, NamedTuple

from .._arrays.functions import real_part, to_accumulation_dtype
from .._arrays.namespace import Array, Namespace, device_of
from .affine import affine_vjp_bias
from .select import where_true

__all__ = ["POOLS", "Pooled", "pool", "pool_vjp"]

POOLS = ("last", "mean", "max")


class Pooled(NamedTuple):
    """What the backward pass needs of a pool."""

    features: Array  # (1, B, F), pooled
    chosen: Array  # (T, B, 1) or (T, B, F), booleans
    divisor: Array | None  # (B, 1), of a mean


def pool(xp: Namespace, how: str, y: Array, valid: Array | None, directions: int) -> Pooled:
    """Pool features (T, B, F) over the valid steps, a mask (T, B); zero if there are none.

    The last step of the reversed direction is the first in time.
    """
    steps, batch, size = y.shape
    if valid is None:
        valid = xp.ones((steps, batch), dtype=xp.bool, device=device_of(y))
    chosen, divisor = xp.expand_dims(valid, axis=2), None
    if how == "last":
        time = xp.arange(1, steps + 1, dtype=xp.int32, device=device_of(y))
        time = xp.where(valid, time[:, None], xp.zeros_like(time[:, None]))
        chosen = xp.expand_dims(valid & (time == xp.max(time, axis=0, keepdims=True)), axis=2)
        if directions == 2:
            late = xp.where(valid, time, xp.full_like(time, steps + 1))
            first = xp.expand_dims(valid & (late == xp.min(late, axis=0, keepdims=True)), axis=2)
            half = (steps, batch, size // 2)
            both = [xp.broadcast_to(one, half) for one in (chosen, first)]
            chosen = xp.concat(both, axis=2)
    elif how == "max":
        values = real_part(xp, y)
        values = xp.where(chosen, values, xp.full_like(values, -float("inf")))
        largest = xp.argmax(values, axis=0, keepdims=True)
        time = xp.arange(steps, dtype=largest.dtype, device=device_of(y))
        chosen = chosen & (xp.reshape(time, (-1, 1, 1)) == largest)
    else:
        divisor = xp.sum(xp.astype(valid, y.dtype), axis=0)[:, None]
        divisor = xp.where(divisor != 0, divisor, xp.ones_like(divisor))
    rows = xp.reshape(where_true(xp, chosen, y), (steps, batch * size))
    summed = xp.reshape(affine_vjp_bias(xp, rows, rows), (1, batch, size))
    features = summed if divisor is None else summed / to_accumulation_dtype(xp, divisor)
    return Pooled(xp.astype(features, y.dtype, copy=False), chosen, divisor)


def pool_vjp(xp: Namespace, pooled: Pooled, d: Array) -> Array:
    """Return the cotangent of the features (T, B, F) from that of the pooled ones (1, B, F)."""
    _, chosen, divisor = pooled
    d = d if divisor is None else d / divisor
    shape: tuple[Any, ...] = (chosen.shape[0], *d.shape[1:])
    return where_true(xp, chosen, xp.broadcast_to(d, shape))
