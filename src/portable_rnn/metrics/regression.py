"""Metrics of numbers."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays import checks as check
from .._arrays.devices import with_device_of_arguments
from .._arrays.functions import concatenate
from .._arrays.namespace import Array, Namespace, check_shaped, namespace_of
from .._reduction import check_outputs, counted_steps, counted_values, row_weights
from .metric import Callable, Mean, sum_and_weight

__all__ = ["R2", "MeanAbsoluteError", "RootMeanSquaredError", "numbers"]


@check.named_options
@dataclass(frozen=True)
class MeanAbsoluteError(Mean):
    """Mean of ``|output - target|``.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.metrics import MeanAbsoluteError
    >>> MeanAbsoluteError()(np.asarray([[1.0], [2.0]]), np.asarray([[3.0], [2.0]]))
    1.0
    """

    @check.named_options
    @with_device_of_arguments
    def measure(self, outputs: Array, targets: Array, *, weights: Array | None = None) -> Array:
        """Return the sum of mean errors of steps, and the weight of the steps."""
        xp, rows = numbers(outputs, targets, weights)
        errors = xp.abs(_difference(xp, outputs, targets, weights))
        return sum_and_weight(xp, xp.mean(errors, axis=-1), rows)


@check.named_options
@dataclass(frozen=True)
class RootMeanSquaredError(Mean):
    """Root of the mean of ``(output - target)²``.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.metrics import RootMeanSquaredError
    >>> RootMeanSquaredError()(np.asarray([[1.0], [2.0]]), np.asarray([[1.0], [4.0]])) ** 2
    2.0000000000000004
    """

    @check.named_options
    @with_device_of_arguments
    def measure(self, outputs: Array, targets: Array, *, weights: Array | None = None) -> Array:
        """Return the sum of mean squares of steps, and the weight of the steps."""
        xp, rows = numbers(outputs, targets, weights)
        errors = _difference(xp, outputs, targets, weights)
        return sum_and_weight(xp, xp.mean(errors * errors, axis=-1), rows)

    def combine(self, measured: np.ndarray[Any, Any]) -> float:
        """Return the error over all batches."""
        return math.sqrt(super().combine(measured))


@check.named_options
@dataclass(frozen=True)
class R2(Callable):
    """Coefficient of determination, the mean over outputs: 1 - squares of errors / of targets.

    The squares of targets are about their mean. An output whose targets are all equal counts as 1
    if there is no error, else as 0. Batches are combined by their means and squares about these
    (Chan, Golub, LeVeque 1979), since differences of sums of squares would lose digits.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.metrics import R2
    >>> R2()(np.asarray([[1.0], [2.0], [4.0]]), np.asarray([[1.0], [2.0], [3.0]]))
    0.5
    """

    @check.named_options
    @with_device_of_arguments
    def measure(self, outputs: Array, targets: Array, *, weights: Array | None = None) -> Array:
        """Return the weight and, for each output, mean and squares of targets, and of errors."""
        xp, rows = numbers(outputs, targets, weights)
        counts = counted_steps(xp, weights)
        errors, wanted = (
            counted_values(xp, a, counts)
            for a in (_difference(xp, outputs, targets, weights), targets)
        )
        total, axes = xp.sum(rows), tuple(range(outputs.ndim - 1))
        rows = xp.expand_dims(rows, axis=-1)
        one = xp.ones_like(total)
        mean = xp.sum(wanted * rows, axis=axes) / xp.where(total == 0, one, total)
        about = wanted - mean
        squares = [xp.sum(part * part * rows, axis=axes) for part in (about, errors)]
        return concatenate(xp, [xp.reshape(total, (1,)), mean, *squares])

    def combine(self, measured: np.ndarray[Any, Any]) -> float:
        """Return the coefficient over all batches."""
        weight = measured[:, :1]
        total = weight.sum()
        if not total:
            return math.nan
        means, squares, errors = np.split(measured[:, 1:], 3, axis=1)
        mean = (weight * means).sum(axis=0) / total
        spread = squares.sum(axis=0) + (weight * (means - mean) ** 2).sum(axis=0)
        error = errors.sum(axis=0)
        constant = spread == 0
        found = np.where(constant, error == 0, 1 - error / np.where(constant, 1.0, spread))
        return float(found.mean())


def numbers(outputs: Array, targets: Array, weights: Array | None) -> tuple[Namespace, Array]:
    """Check outputs and targets like them; return the namespace and the weights of rows."""
    xp = check_outputs(outputs, weights, "sum")
    namespace_of(outputs=outputs, targets=targets)
    check_shaped("targets", targets, tuple(outputs.shape), "outputs", outputs)
    return xp, row_weights(xp, outputs, weights)


def _difference(xp: Namespace, outputs: Array, targets: Array, weights: Array | None) -> Array:
    """Return outputs less targets in the accumulation dtype, 0 at steps that do not count."""
    counts = counted_steps(xp, weights)
    outputs, targets = (counted_values(xp, a, counts) for a in (outputs, targets))
    return outputs - targets
