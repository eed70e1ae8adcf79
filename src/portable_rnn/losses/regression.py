"""Losses of numbers, and of their directions."""

import math
from collections.abc import Sequence

from .._arrays import checks as check
from .._arrays.devices import with_device_of_arguments
from .._arrays.functions import nan_where, real_part, row, sum_over, with_last_axis
from .._arrays.namespace import Array, Namespace, check_shaped, device_of
from .._arrays.norms import far_unit, square_unit_of
from .._reduction import (
    Reduction,
    check_outputs,
    counted_steps,
    counted_values,
    divisor,
    pointwise,
    reduce_losses,
    row_weights,
)

__all__ = ["cosine_distance", "huber", "mean_squared_error", "pinball"]


@check.named_options
@with_device_of_arguments
def mean_squared_error(
    outputs: Array,
    targets: Array,
    *,
    weights: Array | None = None,
    reduction: Reduction = "mean",
) -> tuple[Array, Array]:
    """Compute the squared differences, ``Σ (o - y)²``, or their mean over steps and features.

    Parameters
    ----------
    outputs, targets : arrays, shape (..., F)
    weights, reduction
        See :mod:`portable_rnn.losses`.

    Returns
    -------
    value : array, shape ()
    d_outputs : array, shape (..., F)

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.losses import mean_squared_error
    >>> value, d_outputs = mean_squared_error(np.ones((5, 2)), np.zeros((5, 2)))
    >>> print(value, d_outputs[0])
    1.0 [0.2 0.2]
    """
    xp = check_outputs(outputs, weights, reduction)
    check_shaped("targets", targets, tuple(outputs.shape), "outputs", outputs)
    dtype, counts = outputs.dtype, counted_steps(xp, weights)
    difference = counted_values(xp, outputs, counts) - counted_values(xp, targets, counts)
    unit = far_unit(xp, difference)  # squares may over- or underflow where their mean does not
    difference = difference if unit is None else difference / unit
    if weights is None and all(outputs.shape):
        count = float(math.prod(outputs.shape[:-1]))
        weight, nothing = None if reduction == "sum" else count, None
        weighted = difference
    else:
        rows = row_weights(xp, outputs, weights)
        weight, nothing, rows = divisor(xp, rows, rows, reduction, chosen=counts is not None)
        weighted = difference * with_last_axis(xp, rows)
    if weight is not None:
        weight = weight * outputs.shape[-1]
    squares, d_outputs = weighted * difference, 2.0 * weighted
    return reduce_losses(xp, squares, d_outputs, weight, nothing, dtype, unit=unit)


@check.named_options
@with_device_of_arguments
def huber(
    outputs: Array,
    targets: Array,
    *,
    weights: Array | None = None,
    delta: float = 1.0,
    reduction: Reduction = "mean",
) -> tuple[Array, Array]:
    """Compute half the squared differences up to ``delta``, from where on they grow linearly.

    ``Σ d² / 2`` where ``|d| = |o - y|`` is at most ``delta``, and ``delta (|d| - delta / 2)``
    beyond (Huber, *Robust estimation of a location parameter*, 1964), or their mean over steps and
    features. Same as ``torch.nn.functional.huber_loss``; divided by ``delta`` it is
    ``smooth_l1_loss`` with that ``beta``.

    Parameters
    ----------
    outputs, targets : arrays, shape (..., F)
    weights, reduction
        See :mod:`portable_rnn.losses`.
    delta : float
        Above 0.

    Returns
    -------
    value : array, shape ()
    d_outputs : array, shape (..., F)

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Notes
    -----
    The gradient has a kink at differences of ``delta``, where second derivatives are those from
    within. Elsewhere they are exact.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.losses import huber
    >>> value, d_outputs = huber(np.asarray([[0.5], [3.0]]), np.zeros((2, 1)), reduction="sum")
    >>> print(value, d_outputs.T)  # 0.125 + 2.5
    2.625 [[0.5 1. ]]
    """
    xp = check_outputs(outputs, weights, reduction)
    check_shaped("targets", targets, tuple(outputs.shape), "outputs", outputs)
    delta = check.number("delta", delta, above=0.0)

    def of_numbers(o: Array, y: Array) -> tuple[Array, Array]:
        d = o - y
        size, bound = real_part(xp, d), xp.full_like(d, delta)
        slope = xp.where(size > delta, bound, xp.where(size < -delta, -bound, d))
        return slope * (d - 0.5 * slope), slope

    return pointwise(xp, outputs, targets, weights, reduction, of_numbers)


@check.named_options
@with_device_of_arguments
def pinball(
    outputs: Array,
    targets: Array,
    *,
    weights: Array | None = None,
    quantile: float | Sequence[float] = 0.5,
    reduction: Reduction = "mean",
) -> tuple[Array, Array]:
    """Compute the loss whose minimum is a quantile of the targets, with a slope for each side.

    ``q d`` where ``d = y - o`` is positive, and ``(q - 1) d`` where it is not (Koenker and Bassett,
    *Regression quantiles*, Econometrica 46, 1978). With ``q = 0.5`` it is half the absolute
    difference.

    Parameters
    ----------
    outputs, targets : arrays, shape (..., F)
    weights, reduction
        See :mod:`portable_rnn.losses`.
    quantile : float or sequence of F floats, in (0, 1)
        One for all features, or one for each: give the same target to the features of several.

    Returns
    -------
    value : array, shape ()
    d_outputs : array, shape (..., F)

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Notes
    -----
    At ``d = 0`` the gradient is 0. Second derivatives are 0 everywhere else, and are returned as 0:
    `hvp` has the curvature of the network alone, and `gauss_newton_product` is 0.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.losses import pinball
    >>> value, d_outputs = pinball(np.zeros((1, 2)), np.ones((1, 2)), quantile=(0.1, 0.9))
    >>> print(value, d_outputs)
    0.5 [[-0.05 -0.45]]
    """
    xp = check_outputs(outputs, weights, reduction)
    check_shaped("targets", targets, tuple(outputs.shape), "outputs", outputs)
    q = _quantiles(quantile, outputs.shape[-1])

    def of_numbers(o: Array, y: Array) -> tuple[Array, Array]:
        d = y - o
        sign = real_part(xp, d)
        share = xp.full_like(sign, q[0])
        if len(q) > 1:
            of_features = xp.asarray(q, dtype=sign.dtype, device=device_of(d))
            share = row(xp, of_features, d.ndim) + xp.zeros_like(sign)
        slope = xp.where(sign > 0, share, share - 1.0)
        slope = xp.where(sign == 0, xp.zeros_like(slope), slope)
        slope = xp.astype(nan_where(xp, xp.isnan(sign), slope), d.dtype, copy=False)
        return slope * d, -slope

    return pointwise(xp, outputs, targets, weights, reduction, of_numbers)


def _quantiles(quantile: float | Sequence[float], features: int) -> list[float]:
    """Check one quantile, or one for each feature; return them as a list."""
    several = isinstance(quantile, (tuple, list))
    given = quantile if isinstance(quantile, (tuple, list)) else (quantile,)
    found = [check.number("quantile", one, above=0.0, below=1.0) for one in given]
    if several and len(found) != features:
        raise ValueError(f"quantile: expected one, or {features} of them, got {len(found)}")
    return found


@check.named_options
@with_device_of_arguments
def cosine_distance(
    outputs: Array,
    targets: Array,
    *,
    weights: Array | None = None,
    reduction: Reduction = "mean",
) -> tuple[Array, Array]:
    """Compute 1 less the cosine of the angle between two rows, ``Σ_t (1 - o·y / (|o| |y|))``.

    Same as ``torch.nn.functional.cosine_embedding_loss`` of pairs that are alike, without the small
    number that it adds to the norms.

    Parameters
    ----------
    outputs, targets : arrays, shape (..., F)
        The distance to or from a row of zeros is 1, and its gradient 0.
    weights, reduction
        See :mod:`portable_rnn.losses`. The mean is over steps.

    Returns
    -------
    value : array, shape ()
    d_outputs : array, shape (..., F)

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Notes
    -----
    It is not convex in the outputs. Products with its Hessian need rows that are not much shorter
    than the steps of ``derivatives/complex_step.py``, 1e-12 in float32 and 1e-30 in float64.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.losses import cosine_distance
    >>> value, d_outputs = cosine_distance(np.asarray([[2.0, 0.0]]), np.asarray([[0.0, 3.0]]))
    >>> print(value, d_outputs)
    1.0 [[ 0.  -0.5]]
    """
    xp = check_outputs(outputs, weights, reduction)
    check_shaped("targets", targets, tuple(outputs.shape), "outputs", outputs)

    def of_numbers(o: Array, y: Array) -> tuple[Array, Array]:
        (along, size), (wanted, _) = _direction(xp, o), _direction(xp, y)
        cosine = sum_over(xp, along * wanted, -1, keepdims=True)
        some = xp.any(real_part(xp, o) != 0, axis=-1, keepdims=True)
        slope = xp.where(some, (cosine * along - wanted) / size, xp.zeros_like(o))
        return 1.0 - cosine, slope

    return pointwise(xp, outputs, targets, weights, reduction, of_numbers, features=1)


def _direction(xp: Namespace, rows: Array) -> tuple[Array, Array]:
    """Return rows divided by their Euclidean norms, and the norms; of zeros, 1.

    Squares are those of numbers of about 1, so that none over- or underflows. The unit cancels.
    """
    unit = square_unit_of(xp, xp.max(xp.abs(real_part(xp, rows)), axis=-1, keepdims=True))
    unit = xp.astype(unit, rows.dtype, copy=False)
    small = rows / unit
    square = sum_over(xp, small * small, -1, keepdims=True)
    size = xp.sqrt(xp.where(real_part(xp, square) > 0, square, xp.ones_like(square)))
    return small / size, size * unit
