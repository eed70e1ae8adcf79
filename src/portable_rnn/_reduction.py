"""What losses share: counted steps, divisors of sums, and sums with their gradients."""

import math
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from ._arrays import checks as check
from ._arrays.functions import (
    accumulation_dtype,
    nan_where,
    sum_over,
    to_accumulation_dtype,
    with_last_axis,
)
from ._arrays.namespace import Array, Namespace, device_of, namespace_of
from ._arrays.norms import far_unit

__all__ = [
    "Reduction",
    "check_outputs",
    "counted_steps",
    "counted_values",
    "divisor",
    "multiply",
    "pointwise",
    "reduce_losses",
    "row_weights",
    "zero_uncounted",
]

Reduction: TypeAlias = Literal["mean", "sum"]


def check_outputs(outputs: Array, weights: Array | None, reduction: str) -> Namespace:
    """Check outputs, their weights and the reduction; return the namespace."""
    xp = namespace_of(outputs=outputs)
    check.choice("reduction", reduction, ("mean", "sum"))
    check.floating("outputs", outputs, xp)
    if not outputs.ndim or outputs.shape[-1] == 0:
        raise ValueError(
            "outputs: expected at least one in the last axis, "
            f"got an array of shape {tuple(outputs.shape)}"
        )
    if weights is not None:
        check.weights(weights, "outputs", outputs)
    return xp


def counted_steps(xp: Namespace, weights: Array | None) -> Array | None:
    """Return which steps have weight, as booleans; None for all."""
    if weights is None or weights.dtype == xp.bool:
        return weights
    return weights != 0


def zero_uncounted(xp: Namespace, array: Array, counts: Array | None) -> Array:
    """Return labels (...) or rows (..., F) with zeros at steps that do not count."""
    if counts is None:
        return array
    counts = counts if array.ndim == counts.ndim else xp.expand_dims(counts, axis=-1)
    return xp.where(counts, array, xp.zeros_like(array))


def counted_values(xp: Namespace, array: Array, counts: Array | None) -> Array:
    """Return an array in its accumulation dtype, with zeros at steps that do not count."""
    return zero_uncounted(xp, to_accumulation_dtype(xp, array), counts)


def row_weights(xp: Namespace, outputs: Array, weights: Array | None) -> Array:
    """Return the weight of each row of outputs, half precision as float32."""
    dtype = accumulation_dtype(xp, outputs.dtype)
    if weights is not None:
        return xp.astype(weights, dtype, copy=False)
    return xp.ones(outputs.shape[:-1], dtype=dtype, device=device_of(outputs))


def divisor(
    xp: Namespace, scale: Array, rows: Array, reduction: str, *, chosen: bool
) -> tuple[Any, Any, Array]:
    """Return the divisor of the sum or None, whether nothing counts or None, and row weights.

    If nothing counts, the weights are zero and the divisor is 1. Unless rows are ``chosen`` by
    weights or labels, the number of rows is known.
    """
    if reduction == "sum":
        return None, None, rows
    if not chosen and (count := math.prod(rows.shape)):
        return float(count), None, rows
    if (unit := far_unit(xp, scale)) is not None:
        scale, rows = scale / unit, rows / unit
    weight = xp.asarray(_sum(xp, scale))
    nothing = xp.asarray(~xp.any(scale != 0))
    weight = xp.where(nothing, xp.ones_like(weight), weight)
    return weight, nothing, xp.where(nothing, xp.zeros_like(rows), rows)


def multiply(xp: Namespace, factor: Array, array: Array) -> Array:
    """Return the product, which is 0 where the factor is 0, even if the array is infinite."""
    zero = xp.zeros((), dtype=array.dtype, device=device_of(array))
    return factor * xp.where(factor == 0, zero, array)


def pointwise(
    xp: Namespace,
    outputs: Array,
    targets: Array,
    weights: Array | None,
    reduction: str,
    of_numbers: Callable[[Array, Array], tuple[Array, Array]],
    *,
    features: int | None = None,
) -> tuple[Array, Array]:
    """Return the sum of losses (..., F), or their mean over steps and features, and its gradient.

    ``of_numbers`` returns the losses of outputs and targets in their accumulation dtype, and the
    gradient of their sum. The mean is over the features of the outputs, or so many.
    """
    counts = counted_steps(xp, weights)
    rows = row_weights(xp, outputs, weights)
    weight, nothing, rows = divisor(xp, rows, rows, reduction, chosen=counts is not None)
    if weight is not None:
        weight = weight * (features or outputs.shape[-1])
    o, y = counted_values(xp, outputs, counts), counted_values(xp, targets, counts)
    losses, d_outputs = of_numbers(o, y)
    w = with_last_axis(xp, rows)
    return reduce_losses(xp, losses * w, d_outputs * w, weight, nothing, outputs.dtype)


def reduce_losses(
    xp: Namespace,
    losses: Array,
    d_outputs: Array,
    weight: Any,
    nothing: Any,
    dtype: Any,
    unit: Any = None,
) -> tuple[Array, Array]:
    """Return the sum or mean of losses, and its gradient, in the dtype of the outputs.

    The value is NaN if nothing counts. If ``unit`` is given, losses are squares of differences
    divided by it.
    """
    own = far_unit(xp, losses)
    value = _sum(xp, losses if own is None else losses / own)
    if weight is not None:
        value, d_outputs = value / weight, d_outputs / weight
    value = xp.asarray(value if own is None else value * own)  # NumPy sums to a scalar
    if unit is not None:
        value, d_outputs = value * unit * unit, d_outputs * unit
    if nothing is not None:
        value = nan_where(xp, nothing, value)
    if value.dtype is dtype and d_outputs.dtype is dtype:
        return value, d_outputs
    return xp.astype(value, dtype, copy=False), xp.astype(d_outputs, dtype, copy=False)


def _sum(xp: Namespace, array: Array) -> Array:
    """Sum over all axes, the last first: partial sums round less than one long sum."""
    while array.ndim:
        one = array.shape[-1] == 1
        array = array[..., 0] if one else sum_over(xp, array, axis=array.ndim - 1)
    return array
