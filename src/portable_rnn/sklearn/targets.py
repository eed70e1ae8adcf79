"""The targets and weights that estimators are given, checked, as NumPy arrays."""

from typing import Any

import numpy as np
from sklearn.utils import assert_all_finite, check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from .._arrays import checks as check
from .._arrays.host import to_host
from .sequences import is_foreign

__all__ = ["checked_labels", "checked_loss", "checked_numbers", "checked_weights", "on_host"]


def on_host(values: Any) -> Any:
    """Return an array of another library as NumPy's; anything else as it is."""
    return to_host(values) if is_foreign(values) else values


def checked_labels(y: Any, count: int) -> np.ndarray[Any, Any]:
    """Return labels (N,)."""
    labels: np.ndarray[Any, Any] = column_or_1d(_given(y), warn=True)
    assert_all_finite(labels, input_name="y")
    check_classification_targets(labels)
    _check_count("y", labels, count)
    return labels


def checked_numbers(y: Any, count: int) -> np.ndarray[Any, Any]:
    """Return targets (N,) or (N, O)."""
    numbers: np.ndarray[Any, Any] = check_array(
        _given(y), ensure_2d=False, dtype="numeric", input_name="y"
    )
    if numbers.ndim not in (1, 2):
        raise ValueError(f"y: expected shape (N,) or (N, O), got {numbers.shape}")
    _check_count("y", numbers, count)
    return numbers


def checked_weights(sample_weight: Any, count: int) -> np.ndarray[Any, Any] | None:
    """Return weights (N,), or None."""
    if sample_weight is None:
        return None
    given, name = on_host(sample_weight), "sample_weight"
    weights: np.ndarray[Any, Any] = check_array(
        given, ensure_2d=False, dtype=np.float64, input_name=name
    )
    if weights.ndim != 1:
        raise ValueError(f"Sample weights must be 1D array or scalar, got {weights.ndim}D array")
    _check_count(name, weights, count)
    if weights.min() < 0.0:
        raise ValueError("Negative values in data passed to `sample_weight`.")
    if not weights.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weights


def checked_loss(loss: Any) -> Any:
    """Return a loss whose outputs are predictions, by its name or as it is."""
    if not callable(loss):
        check.choice("loss", loss, ("mean_squared_error", "huber", "pinball"))
    return loss


def _given(y: Any) -> Any:
    if y is None:
        raise ValueError("requires y to be passed, but the target y is None")
    return on_host(y)


def _check_count(name: str, array: np.ndarray[Any, Any], count: int) -> None:
    if len(array) != count:
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: X has {count}, "
            f"{name} has {len(array)}"
        )
