"""Metrics of classes."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays import checks as check
from .._arrays.devices import with_device_of_arguments
from .._arrays.functions import concatenate, row, stack, to_accumulation_dtype
from .._arrays.namespace import Array, Namespace, device_of
from .._labels import is_index, one_hot_rows, signed
from .._reduction import check_outputs, counted_steps, row_weights, zero_uncounted
from ..losses import softmax_cross_entropy
from .metric import Callable, Mean, ratio, sum_and_weight
from .regression import numbers

__all__ = ["F1", "Accuracy", "BinaryAccuracy", "Perplexity", "TopKAccuracy"]


@check.named_options
@dataclass(frozen=True)
class Accuracy(Mean):
    """Share of steps whose largest output is that of the target.

    Targets are class indices, or rows of which the largest entry is the class.

    Parameters
    ----------
    ignore_index : int, optional
        Class index whose steps do not count.

    Raises
    ------
    TypeError, ValueError
        If ``ignore_index`` is not an int.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.metrics import Accuracy
    >>> Accuracy()(np.asarray([[0.1, 0.9], [0.8, 0.2]]), np.asarray([1, 1]))
    0.5
    """

    ignore_index: int | None = None

    def __post_init__(self) -> None:
        if self.ignore_index is not None:
            check.integer("ignore_index", self.ignore_index)

    @check.named_options
    @with_device_of_arguments
    def measure(self, outputs: Array, targets: Array, *, weights: Array | None = None) -> Array:
        """Return the weight of the steps that are right, and of all."""
        xp, labels, rows = _classes(outputs, targets, weights, self.ignore_index)
        found = _largest(xp, outputs)
        return sum_and_weight(xp, (found == labels) & (found < outputs.shape[-1]), rows)


@check.named_options
@dataclass(frozen=True)
class TopKAccuracy(Mean):
    """Share of steps at which fewer than k outputs are larger than that of the target.

    NaN counts as larger than any number.

    Parameters
    ----------
    k : int
    ignore_index : int, optional
        Class index whose steps do not count.

    Raises
    ------
    TypeError, ValueError
        If an argument is not an int, or ``k`` is less than 1.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.metrics import TopKAccuracy
    >>> TopKAccuracy(k=2)(np.asarray([[0.1, 0.9, 0.3], [0.8, 0.2, 0.4]]), np.asarray([2, 1]))
    0.5
    """

    k: int = 5
    ignore_index: int | None = None

    def __post_init__(self) -> None:
        check.count("k", self.k)
        if self.ignore_index is not None:
            check.integer("ignore_index", self.ignore_index)

    @check.named_options
    @with_device_of_arguments
    def measure(self, outputs: Array, targets: Array, *, weights: Array | None = None) -> Array:
        """Return the weight of the steps that are right, and of all."""
        xp, labels, rows = _classes(outputs, targets, weights, self.ignore_index)
        chosen = one_hot_rows(xp, labels, outputs.shape[-1], xp.bool)
        score = xp.sum(xp.where(chosen, outputs, xp.zeros_like(outputs)), axis=-1, keepdims=True)
        larger = xp.sum(xp.astype(~(outputs <= score), xp.int32), axis=-1, dtype=xp.int32)
        # A label out of range is never right, nor is one whose output is NaN.
        known = xp.any(chosen & ~xp.isnan(outputs), axis=-1)
        return sum_and_weight(xp, known & (larger < self.k), rows)


@check.named_options
@dataclass(frozen=True)
class BinaryAccuracy(Mean):
    """Share of outputs on the right side of a threshold.

    Targets are like the outputs; above one half means yes. NaN is on neither side.

    Parameters
    ----------
    threshold : float
        Outputs above it mean yes: 0 for logits, the outputs that `binary_cross_entropy` takes.

    Raises
    ------
    TypeError, ValueError
        If ``threshold`` is not a finite number.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.metrics import BinaryAccuracy
    >>> BinaryAccuracy()(np.asarray([[-1.0], [2.0]]), np.asarray([[0.0], [0.0]]))
    0.5
    """

    threshold: float = 0.0

    def __post_init__(self) -> None:
        check.number("threshold", self.threshold)

    @check.named_options
    @with_device_of_arguments
    def measure(self, outputs: Array, targets: Array, *, weights: Array | None = None) -> Array:
        """Return the weight of the outputs that are right, and of all."""
        xp, rows = numbers(outputs, targets, weights)
        known = ~(xp.isnan(outputs) | xp.isnan(targets))
        right = known & ((outputs > self.threshold) == (targets > 0.5))
        return sum_and_weight(xp, xp.mean(xp.astype(right, rows.dtype), axis=-1), rows)


@check.named_options
@dataclass(frozen=True)
class F1(Callable):
    """Harmonic mean of precision and recall, of each class and then over classes.

    Parameters
    ----------
    average : {"macro", "weighted", "binary"}
        Over the classes that occur in targets or predictions: the mean, or the mean weighted by
        how often each is a target. "binary" is the F1 of class 1 of two.
    ignore_index : int, optional
        Class index whose steps do not count.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.metrics import F1
    >>> outputs = np.asarray([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    >>> round(F1(average="binary")(outputs, np.asarray([1, 1, 1])), 3)
    0.8
    """

    average: str = "macro"
    ignore_index: int | None = None

    def __post_init__(self) -> None:
        check.choice("average", self.average, ("macro", "weighted", "binary"))
        if self.ignore_index is not None:
            check.integer("ignore_index", self.ignore_index)

    @check.named_options
    @with_device_of_arguments
    def measure(self, outputs: Array, targets: Array, *, weights: Array | None = None) -> Array:
        """Return for each class the weight that is right, predicted and wanted.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit, or there are not two classes with ``average="binary"``.
        """
        classes = outputs.shape[-1] if getattr(outputs, "ndim", 0) else 0
        if self.average == "binary" and classes != 2:
            raise ValueError(f"outputs: expected two classes with average='binary', got {classes}")
        xp, labels, rows = _classes(outputs, targets, weights, self.ignore_index)
        wanted = one_hot_rows(xp, labels, classes, rows.dtype)
        predicted = one_hot_rows(xp, _largest(xp, outputs), classes, rows.dtype)
        rows = xp.expand_dims(rows, axis=-1)
        axes = tuple(range(outputs.ndim - 1))
        parts = (wanted * predicted, predicted, wanted)
        return concatenate(xp, [xp.sum(part * rows, axis=axes) for part in parts])

    def combine(self, measured: np.ndarray[Any, Any]) -> float:
        """Return F1 over all batches."""
        right, predicted, wanted = measured.sum(axis=0).reshape(3, -1)
        occurs = predicted + wanted > 0
        score = 2 * right / np.where(occurs, predicted + wanted, 1.0)
        if not occurs.any():
            return math.nan
        if self.average == "binary":
            return float(score[1])
        if self.average == "weighted":
            return ratio(score * wanted, wanted)
        return float(score[occurs].mean())


@check.named_options
@dataclass(frozen=True)
class Perplexity(Mean):
    """Exponential of the mean cross-entropy in nats.

    Parameters
    ----------
    ignore_index : int, optional
        Class index whose steps do not count.

    Raises
    ------
    TypeError, ValueError
        If ``ignore_index`` is not an int.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.metrics import Perplexity
    >>> round(Perplexity()(np.zeros((3, 7)), np.asarray([1, 2, 3])), 6)
    7.0
    """

    ignore_index: int | None = None

    def __post_init__(self) -> None:
        if self.ignore_index is not None:
            check.integer("ignore_index", self.ignore_index)

    @check.named_options
    @with_device_of_arguments
    def measure(self, outputs: Array, targets: Array, *, weights: Array | None = None) -> Array:
        """Return the sum of cross-entropies, and the weight of the steps."""
        xp, labels, rows = _classes(outputs, targets, weights, self.ignore_index)
        if not is_index(xp, outputs, targets):
            labels = to_accumulation_dtype(xp, targets)
        # In the accumulation dtype, since the loss has the dtype of the outputs.
        outputs = to_accumulation_dtype(xp, outputs)
        total, _ = softmax_cross_entropy(outputs, labels, weights=rows, reduction="sum")
        return stack(xp, [total, xp.sum(rows)])

    def combine(self, measured: np.ndarray[Any, Any]) -> float:
        """Return the perplexity over all batches; infinity if it is beyond any float."""
        mean = super().combine(measured)
        return math.exp(mean) if not mean > 709 else math.inf


def _classes(
    outputs: Array, targets: Array, weights: Array | None, ignore_index: int | None
) -> tuple[Namespace, Array, Array]:
    """Check arguments; return the namespace, class indices, and the weights of their rows."""
    xp = check_outputs(outputs, weights, "sum")
    counts = counted_steps(xp, weights)
    rows = row_weights(xp, outputs, weights)
    if is_index(xp, outputs, targets):
        labels = zero_uncounted(xp, signed(xp, targets), counts)
        limits = xp.iinfo(labels.dtype)
        if ignore_index is not None and limits.min <= ignore_index <= limits.max:
            rows = xp.where(labels == ignore_index, xp.zeros_like(rows), rows)
        return xp, labels, rows
    if ignore_index is not None:
        raise ValueError("ignore_index: expected class indices as targets, got rows")
    if outputs.shape[-1] == 1:
        raise ValueError(
            "targets: expected class indices, or rows of at least two classes, got shape "
            f"{tuple(targets.shape)}; for yes or no there is BinaryAccuracy"
        )
    return xp, _largest(xp, targets), rows


def _largest(xp: Namespace, rows: Array) -> Array:
    """Return the first index of the largest entry of each row; of a row with NaN, no index.

    Not by `argmax`: its int64 is more than some devices have, and it gives an index for NaN.
    """
    classes = rows.shape[-1]
    axis = row(xp, xp.arange(classes, dtype=xp.int32, device=device_of(rows)), rows.ndim)
    largest = rows == xp.max(rows, axis=-1, keepdims=True)
    return xp.min(xp.where(largest, axis, xp.full_like(axis, classes)), axis=-1)
