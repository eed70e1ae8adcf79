"""Losses of numbers."""

import math

from .._arrays import checks as check
from .._arrays.devices import with_device_of_arguments
from .._arrays.functions import with_last_axis
from .._arrays.namespace import Array, check_shaped
from .._arrays.norms import far_unit
from .._reduction import (
    Reduction,
    check_outputs,
    counted_steps,
    counted_values,
    divisor,
    reduce_losses,
    row_weights,
)

__all__ = ["mean_squared_error"]


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
