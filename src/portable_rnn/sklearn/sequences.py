"""The sequences that estimators are given, checked: one array, samples first."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from .._arrays import checks as check
from .._arrays.devices import device_context
from .._arrays.host import is_kind
from .._arrays.namespace import Array, is_array, is_numpy_array, namespace_of
from ..ragged import pack

__all__ = ["Sequences", "checked_sequences", "is_foreign"]

_FLOATING = (np.float64, np.float32)


class Sequences(NamedTuple):
    """Sequences of one array.

    Attributes
    ----------
    x : array, shape (N, T, F)
    lengths : NumPy array, shape (N,), or None if all have T steps
    flat : bool
        Whether they were given without an axis of features.
    """

    x: Array
    lengths: np.ndarray[Any, Any] | None
    flat: bool


def is_foreign(value: Any) -> bool:
    """Return whether a value is an array of a library other than NumPy."""
    return is_array(value) and not is_numpy_array(value)


def checked_sequences(
    estimator: Any, X: Any, *, reset: bool, columns: bool = True, least: int = 1
) -> Sequences:
    """Check ``X``, in scikit-learn's manner, and return its sequences.

    Parameters
    ----------
    estimator : estimator
        Its ``n_features_in_`` and ``feature_names_in_`` are set, or compared.
    X : array, shape (N, T, F) or (N, T), data frame (N, T), or list of arrays (T_i, F) or (T_i,)
    reset : bool
        Whether they are set.
    columns : bool
        Whether the T steps of (N, T) count as features, so that there must always be as many.
    least : int
        How many steps a sequence must have.
    """
    if (listed := _listed(X)) is not None:
        x, lengths, flat = _packed(listed)
        fewest = int(lengths.min())
    else:
        if is_foreign(X):
            array = X
            _check_foreign("X", X, (2, 3))
        else:
            named = {"input_name": "X", "estimator": estimator}
            array = check_array(X, dtype=_FLOATING, allow_nd=True, **named)
        if array.ndim > 3 or 0 in array.shape:
            name = type(estimator).__name__
            raise ValueError(
                f"Found array with shape {tuple(array.shape)}, while {name} expects (N, T, F) or "
                "(N, T), with at least one sequence, step and feature."
            )
        flat, lengths, fewest = array.ndim == 2, None, array.shape[1]
        x = array[:, :, None] if flat else array
    if fewest < least:
        raise ValueError(f"X: expected sequences of at least {least} steps, got one of {fewest}")
    # An array (N, F), whose columns scikit-learn counts and names.
    rows = X if flat and columns and listed is None else x[:, 0, :]
    validate_data(estimator, rows, reset=reset, skip_check_array=True)
    return Sequences(x, None if lengths is None or fewest == x.shape[1] else lengths, flat)


def _listed(X: Any) -> Sequence[Any] | None:
    """Return the arrays of a list of sequences; None if ``X`` is one array, or may be read so."""
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1:
        X = list(X)
    if not isinstance(X, (list, tuple)) or not X:
        return None
    try:
        axes = {getattr(one, "ndim", None) or np.ndim(one) for one in X}
    except ValueError:  # nested lists of different lengths
        return None
    if 2 in axes:
        return X
    ragged = axes == {1} and len({len(one) for one in X}) > 1
    return X if ragged or (1 in axes and any(map(is_foreign, X))) else None


def _packed(listed: Sequence[Any]) -> tuple[Array, np.ndarray[Any, Any], bool]:
    """Return an array (N, T, F), lengths (N,), and whether the sequences were (T_i,)."""
    named = {f"X[{i}]": one for i, one in enumerate(listed)}
    if any(map(is_foreign, listed)):
        arrays = named
        namespace_of(**named)
        for name, one in named.items():
            _check_foreign(name, one, (1, 2))
    else:
        arrays = {
            name: check_array(
                one, dtype=_FLOATING, ensure_2d=False, ensure_min_samples=0, input_name=name
            )
            for name, one in named.items()
        }
        dtype = np.result_type(*{one.dtype for one in arrays.values()})
        arrays = {name: one.astype(dtype, copy=False) for name, one in arrays.items()}
    first = arrays["X[0]"]
    for name, one in arrays.items():
        wanted = f"(T, {first.shape[1]})" if first.ndim == 2 else "(T,)"
        if one.ndim != first.ndim or one.shape[1:] != first.shape[1:]:
            raise ValueError(f"{name}: expected shape {wanted} like X[0], got {tuple(one.shape)}")
        if not one.shape[0]:
            raise ValueError(f"{name}: expected at least one step, got none")
    flat = first.ndim == 1
    x, lengths = pack([one[:, None] if flat else one for one in arrays.values()], batch_first=True)
    return x, lengths, flat


def _check_foreign(name: str, array: Array, axes: tuple[int, int]) -> None:
    """Check an array that scikit-learn would convert to NumPy."""
    if array.ndim not in axes:
        wanted = "(N, T, F) or (N, T)" if 3 in axes else "(T, F) or (T,)"
        raise ValueError(f"{name}: expected shape {wanted}, got {tuple(array.shape)}")
    if not is_kind(name, array, "real floating"):
        raise ValueError(f"{name}: expected a real floating dtype, got {array.dtype}")
    with device_context(array):
        check.finite({name: array})
