"""One vector for each sequence: of its last step, or the mean or maximum over its valid steps.

All three are sums over chosen steps, whose choice is kept for the way back.
"""

from typing import Any, NamedTuple

from .._arrays.functions import real_part, sum_over, to_accumulation_dtype
from .._arrays.namespace import Array, Namespace, device_of
from .._arrays.shown import short_repr
from .affine import SUMS, Products
from .select import where_true

__all__ = ["POOLS", "Pooled", "pool", "pool_vjp"]

POOLS = ("last", "mean", "max")


class Pooled(NamedTuple):
    """What the backward pass needs of a pool."""

    features: Array  # (1, B, F), pooled
    chosen: Array  # (T, B, 1) or (T, B, F), booleans
    divisor: Array | None  # (1, B, 1), of a mean

    def __repr__(self) -> str:
        return short_repr(self)


def pool(
    xp: Namespace,
    how: str,
    y: Array,
    valid: Array | None,
    reverse: tuple[bool, ...],
    products: Products = SUMS,
) -> Pooled:
    """Pool features (T, B, F) over the valid steps, a mask (T, B); zero if there are none.

    The last step of a direction in ``reverse`` is the first in time. Steps are summed as
    ``products`` sum the rows of a bias.
    """
    steps, batch, size = y.shape
    if valid is None:
        valid = xp.ones((steps, batch), dtype=xp.bool, device=device_of(y))
    chosen, divisor = xp.expand_dims(valid, axis=2), None
    # Steps are numbered as 32-bit integers, since some devices have no others.
    time = xp.arange(steps, dtype=xp.int32, device=device_of(y))[:, None, None]
    if how == "last":
        last = [_first(xp, chosen, time if backwards else -time) for backwards in reverse]
        half = (steps, batch, size // 2)
        chosen = last[0]
        if len(last) == 2:
            chosen = xp.concat([xp.broadcast_to(one, half) for one in last], axis=2)
    elif how == "max":
        values = real_part(xp, y)
        values = xp.where(chosen, values, xp.full_like(values, -float("inf")))
        largest = (values == xp.max(values, axis=0, keepdims=True)) | xp.isnan(values)
        chosen = _first(xp, chosen & largest, time)
    else:
        divisor = sum_over(xp, xp.astype(valid, y.dtype), axis=0)[None, :, None]
        divisor = xp.where(divisor != 0, divisor, xp.ones_like(divisor))
    rows = xp.reshape(where_true(xp, chosen, y), (steps, batch * size))
    summed = xp.reshape(products.bias(xp, rows, rows), (1, batch, size))
    features = summed if divisor is None else summed / divisor
    return Pooled(xp.astype(features, y.dtype, copy=False), chosen, divisor)


def pool_vjp(xp: Namespace, pooled: Pooled, d: Array) -> Array:
    """Return the cotangent of the features (T, B, F) from that of the pooled ones (1, B, F)."""
    _, chosen, divisor = pooled
    if divisor is not None:
        d = xp.astype(to_accumulation_dtype(xp, d) / divisor, d.dtype, copy=False)
    shape: tuple[Any, ...] = (chosen.shape[0], *d.shape[1:])
    return where_true(xp, chosen, xp.broadcast_to(d, shape))


def _first(xp: Namespace, some: Array, time: Array) -> Array:
    """Return of some steps (T, B, F) that with the smallest number (T, 1, 1), as booleans."""
    none = xp.full_like(time, 2**31 - 1)
    times = xp.where(some, time, none)
    return some & (times == xp.min(times, axis=0, keepdims=True))
