"""What metrics share: the protocol, the call with one batch, and means over steps."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np

from .._arrays import checks as check
from .._arrays.functions import accumulation_dtype, stack
from .._arrays.host import all_to_host
from .._arrays.namespace import Array, Namespace

__all__ = ["Callable", "Mean", "Metric", "combined", "ratio", "sum_and_weight"]


class Metric(Protocol):
    """A metric: any object with these two methods.

    Examples
    --------
    >>> import numpy as np
    >>> class LargestOutput:
    ...     def measure(self, outputs, targets, *, weights=None):
    ...         return np.reshape(np.max(outputs), (1,))
    ...
    ...     def combine(self, measured):
    ...         return float(measured.max())
    """

    @check.named_options
    def measure(self, outputs: Array, targets: Array, *, weights: Array | None = None) -> Array:
        """Return what has to be known of a batch, shape (K,); nothing is read."""

    def combine(self, measured: np.ndarray[Any, Any]) -> float:
        """Return the metric of n batches from what was measured, float64 of shape (n, K)."""


class Callable:
    """A metric that can be called with one batch."""

    def __call__(self, outputs: Array, targets: Array, *, weights: Array | None = None) -> float:
        """Return the metric of one batch; waits for the device.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit; the message names it.
        """
        metric = cast(Metric, self)
        (host,) = all_to_host([metric.measure(outputs, targets, weights=weights)])
        return metric.combine(np.asarray(host, dtype=np.float64)[None])


class Mean(Callable):
    """A weighted mean over steps: measured as a sum and its weight."""

    def combine(self, measured: np.ndarray[Any, Any]) -> float:
        """Return the mean over all batches."""
        return ratio(measured[:, 0], measured[:, 1])


def ratio(sums: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]) -> float:
    """Return the quotient of two sums, NaN if both are of nothing."""
    total = math.fsum(weights)
    return math.fsum(sums) / total if total else math.nan


def sum_and_weight(xp: Namespace, values: Array, rows: Array) -> Array:
    """Return the sum of weighted values, which may be booleans, and the sum of the weights."""
    values = xp.astype(values, accumulation_dtype(xp, rows.dtype), copy=False)
    return stack(xp, [xp.sum(values * rows), xp.sum(rows)])


def combined(
    metrics: Mapping[str, Metric], measured: Sequence[dict[str, Array]]
) -> dict[str, float]:
    """Read what metrics have measured of batches; return each metric of all batches."""
    host = iter(all_to_host([one[name] for name in metrics for one in measured]))
    return {
        name: _combined(name, metric, [next(host) for _ in measured])
        for name, metric in metrics.items()
    }


def _combined(name: str, metric: Metric, parts: Sequence[np.ndarray[Any, Any]]) -> float:
    found = metric.combine(np.stack([np.asarray(part, dtype=np.float64) for part in parts]))
    try:
        return float(found)
    except (TypeError, ValueError):
        raise TypeError(
            f"metrics[{name!r}]: expected combine to return a float, got {check.said(found)}"
        ) from None
