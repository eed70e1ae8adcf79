"""Metrics of numbers."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays import checks as check
from .._arrays.devices import with_device_of_arguments
from .._arrays.functions import concatenate, row, to_accumulation_dtype
from .._arrays.namespace import Array, Namespace, check_shaped, device_of, namespace_of
from .._arrays.norms import far_unit, square_unit_of
from .._reduction import check_outputs, counted_steps, counted_values, row_weights
from .metric import Callable, Mean, ratio, sum_and_weight

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
        """Return the sum of mean squares of steps, their weight, and the unit of the errors."""
        xp, rows = numbers(outputs, targets, weights)
        errors = _difference(xp, outputs, targets, weights)
        unit = far_unit(xp, errors)  # squares may over- or underflow where their root does not
        unit = xp.ones((), dtype=rows.dtype, device=device_of(rows)) if unit is None else unit
        errors = errors / unit
        squares = sum_and_weight(xp, xp.mean(errors * errors, axis=-1), rows)
        return concatenate(xp, [squares, xp.reshape(unit, (1,))])

    def combine(self, measured: np.ndarray[Any, Any]) -> float:
        """Return the error over all batches."""
        squares, weights, units = measured.T
        units = np.where(squares != 0, units, 0.0)
        unit = float(units.max()) or 1.0
        return unit * math.sqrt(ratio(squares * (units / unit) ** 2, weights))


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
        """Return the weight and, for each output, a unit, the mean, and squares in that unit."""
        xp, rows = numbers(outputs, targets, weights)
        features = outputs.shape[-1]
        rows = xp.reshape(rows, (-1, 1))
        if 0 in rows.shape:
            return xp.zeros((1 + 4 * features,), dtype=rows.dtype, device=device_of(rows))
        counts = rows != 0
        errors = xp.reshape(_difference(xp, outputs, targets, weights), (-1, features))
        wanted = xp.reshape(to_accumulation_dtype(xp, targets), (-1, features))
        # Less the lowest one, so that targets which are all equal have squares of 0.
        low = xp.min(xp.where(counts, wanted, xp.full_like(wanted, math.inf)), axis=0)
        low = xp.where(low == math.inf, xp.zeros_like(low), low)
        zero, total = xp.zeros_like(wanted), xp.sum(rows)
        above = xp.where(counts, wanted - row(xp, low, 2), zero)
        divisor = xp.where(total == 0, xp.ones_like(total), total)
        mean = xp.sum(above * rows, axis=0) / divisor
        about = xp.where(counts, above - row(xp, mean, 2), zero)
        largest = xp.max(xp.abs(xp.concat([about, errors], axis=0)), axis=0)
        unit = square_unit_of(xp, largest)
        parts = (part / row(xp, unit, 2) for part in (about, errors))
        squares = [xp.sum(part * part * rows, axis=0) for part in parts]
        return concatenate(xp, [xp.reshape(total, (1,)), unit, low + mean, *squares])

    def combine(self, measured: np.ndarray[Any, Any]) -> float:
        """Return the coefficient over all batches."""
        measured = measured[measured[:, 0] != 0]
        weight = measured[:, :1]
        total = weight.sum()
        if not total:
            return math.nan
        units, means, squares, errors = np.split(measured[:, 1:], 4, axis=1)
        means = means - means[0]
        apart = means - (weight * means).sum(axis=0) / total
        units = np.where(squares + errors > 0, units, 0.0)
        largest = np.maximum(np.abs(apart), units).max(axis=0)
        unit = np.where(largest > 0, largest, 1.0)
        spread = (squares * (units / unit) ** 2 + weight * (apart / unit) ** 2).sum(axis=0)
        error = (errors * (units / unit) ** 2).sum(axis=0)
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
