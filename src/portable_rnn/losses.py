"""Losses: each value with its gradient, in the form that `bptt` asks of any loss.

A loss is a callable ``(outputs, targets, **options) -> (value, d_outputs)``. The value is a
0-d array of the outputs' library, dtype and device, the gradient has the outputs' shape, and
nothing is read back to the host except where labels are checked. Yours may be any function
of that form.

Common options, which every loss here takes:

weights : array, shape of the outputs without their last axis, optional
    Weight of each step of each sequence. A boolean mask will do. Zero leaves a step out,
    whatever its outputs and targets are: NaN and labels out of range too.
reduction : {"mean", "sum"}
    "sum" is the loss of Goodfellow, Bengio, Courville, *Deep Learning* (2016), chapter 10.
    "mean" divides it by the weight of all steps, as torch does; the mean of nothing is NaN
    (and NumPy warns).

Sums of float16 and bfloat16 are formed in float32, and rounded once.
"""

from typing import Any, Literal, TypeAlias

from . import _check as check
from ._namespace import (
    Array,
    Namespace,
    device_of,
    dtype_name,
    is_positive,
    is_traced,
    library_name,
    namespace_of,
    on_host,
    on_their_device,
    read_flag,
    real_part,
    resolve_namespace,
    sum_over,
)

__all__ = [
    "binary_cross_entropy",
    "mean_squared_error",
    "one_hot",
    "softmax_cross_entropy",
]

Reduction: TypeAlias = Literal["mean", "sum"]


@on_their_device
def softmax_cross_entropy(
    outputs: Array,
    targets: Array,
    *,
    weights: Array | None = None,
    class_weights: Array | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    check_targets: bool | None = None,
) -> tuple[Array, Array]:
    """Negative log-likelihood of a softmax, ``-Σ_t Σ_i y_i log softmax(o)_i``.

    Parameters
    ----------
    outputs : array, shape (..., C)
        Unnormalised log-probabilities ``o``.
    targets : integer array, shape (...), or array like ``outputs``
        Class indices in ``[0, C)``, or a row y of weights per class. A row need not
        sum to 1: its gradient is ``softmax(o) Σy - y``, which for a one-hot row is
        ``softmax(o) - 1_y`` (equation 10.18).
    weights, reduction
        See :mod:`portable_rnn.losses`.
    class_weights : array, shape (C,), optional
        Factor per class. With class indices, "mean" divides by the weights of the classes met.
    ignore_index : int, optional
        Class index whose steps are left out.
    label_smoothing : float in [0, 1]
        Share of each target that is spread evenly over all classes.
    check_targets : bool, optional
        Whether to read the class indices and refuse any outside ``[0, C)``. By default done
        where they live on the host. Unchecked, a wrong index makes the loss NaN.

    Returns
    -------
    value : array, shape ()
    d_outputs : array, shape (..., C)

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.losses import softmax_cross_entropy
    >>> value, d_outputs = softmax_cross_entropy(np.zeros((2, 4)), np.array([1, 3]))
    >>> print(f"{value:.4f}")  # log 4
    1.3863
    >>> print(d_outputs[0])
    [ 0.125 -0.375  0.125  0.125]
    """
    xp = _check_outputs(outputs, weights, reduction)
    label_smoothing = check.number("label_smoothing", label_smoothing, least=0.0, most=1.0)
    if check_targets is not None:
        check_targets = check.flag("check_targets", check_targets)
    classes = outputs.shape[-1]
    if class_weights is not None:
        check.shaped("class_weights", class_weights, (classes,), "outputs", outputs)
    row_weights = _row_weights(xp, outputs, weights)
    if ignore_index is not None:
        ignore_index = check.integer("ignore_index", ignore_index)
    indices = _is_index(xp, outputs, targets)
    if indices:
        targets = _counted(xp, _signed(xp, targets), weights)
        _check_labels(xp, targets, classes, ignore_index, check_targets)
        y, row_weights = _rows_of_labels(xp, outputs, targets, row_weights, ignore_index)
    else:
        if ignore_index is not None:
            raise ValueError("ignore_index: expected class indices as targets, got rows")
        y = _counted(xp, targets, weights)
    outputs = _counted(xp, outputs, weights)

    scale = row_weights
    if class_weights is not None and indices:
        scale = scale * xp.astype(sum_over(xp, y * class_weights, -1), outputs.dtype)
    if label_smoothing:
        share = xp.sum(y, axis=-1, keepdims=True, dtype=y.dtype)
        y = (1.0 - label_smoothing) * y + (label_smoothing / classes) * share
    if class_weights is not None:
        y = y * class_weights
    y = y * xp.expand_dims(row_weights, axis=-1)

    log_p = log_softmax(xp, outputs)
    total = xp.sum(y, axis=-1, keepdims=True, dtype=y.dtype)
    return _reduce(xp, -_sum(xp, y * log_p), xp.exp(log_p) * total - y, _sum(xp, scale), reduction)


@on_their_device
def mean_squared_error(
    outputs: Array,
    targets: Array,
    *,
    weights: Array | None = None,
    reduction: Reduction = "mean",
) -> tuple[Array, Array]:
    """Squared differences, ``Σ (o - y)²``, or their mean over steps and features.

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
    xp = _check_outputs(outputs, weights, reduction)
    check.shaped("targets", targets, tuple(outputs.shape), "outputs", outputs)
    row_weights = _row_weights(xp, outputs, weights)
    difference = _counted(xp, outputs, weights) - _counted(xp, targets, weights)
    weighted = difference * xp.expand_dims(row_weights, axis=-1)
    count = _sum(xp, row_weights) * outputs.shape[-1]
    return _reduce(xp, _sum(xp, weighted * difference), 2.0 * weighted, count, reduction)


@on_their_device
def binary_cross_entropy(
    outputs: Array,
    targets: Array,
    *,
    weights: Array | None = None,
    reduction: Reduction = "mean",
) -> tuple[Array, Array]:
    """Negative log-likelihood of independent yes-or-no outputs, from their logits.

    ``-y log s(o) - (1 - y) log(1 - s(o))`` with the logistic function ``s``, computed as
    ``log(1 + exp(o)) - y o`` without overflow. Its gradient is ``s(o) - y``.

    Parameters
    ----------
    outputs : array, shape (..., F)
        Logits.
    targets : array, shape (..., F)
        Probabilities of yes, of the outputs' dtype.
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
    >>> from portable_rnn.losses import binary_cross_entropy
    >>> value, d_outputs = binary_cross_entropy(np.zeros((3, 1)), np.ones((3, 1)))
    >>> print(f"{value:.4f}")  # log 2
    0.6931
    """
    xp = _check_outputs(outputs, weights, reduction)
    check.shaped("targets", targets, tuple(outputs.shape), "outputs", outputs)
    row_weights = _row_weights(xp, outputs, weights)
    outputs, targets = (_counted(xp, array, weights) for array in (outputs, targets))
    w = xp.expand_dims(row_weights, axis=-1)
    positive = is_positive(xp, outputs)
    shrinking = xp.exp(outputs - 2.0 * positive * outputs)  # exp(-|o|), analytically
    value = (positive - targets) * outputs + xp.log1p(shrinking)
    sigmoid = (positive + (1.0 - positive) * shrinking) / (1.0 + shrinking)
    count = _sum(xp, row_weights) * outputs.shape[-1]
    return _reduce(xp, _sum(xp, value * w), (sigmoid - targets) * w, count, reduction)


def log_softmax(xp: Namespace, z: Array) -> Array:
    """Return ``log softmax(z)`` over the last axis, without overflow."""
    # The shift cancels, so its derivative is not needed, and the real part will do.
    z = z - xp.astype(xp.max(real_part(xp, z), axis=-1, keepdims=True), z.dtype)
    return z - xp.log(xp.sum(xp.exp(z), axis=-1, keepdims=True, dtype=z.dtype))


def one_hot(xp: Namespace, labels: Array, classes: int, dtype: Any) -> Array:
    """Return rows with a 1 at each label, shape (..., classes).

    By comparison rather than indexing: no library wraps, raises or reorders here, and
    a label out of range gives a row of zeros.

    Parameters
    ----------
    xp : module
        The namespace of the labels.
    labels : integer array, shape (...)
    classes : int
    dtype : dtype of that library

    Returns
    -------
    array, shape (..., classes)
        Of ``dtype``, on the device of the labels.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.losses import one_hot
    >>> print(one_hot(np, np.asarray([2, 0]), 3, np.float32))
    [[0. 0. 1.]
     [1. 0. 0.]]
    """
    found = namespace_of(labels=labels)
    if xp is not found and resolve_namespace(xp) is not found:
        raise TypeError(
            f"labels: expected an array of {library_name(xp)} like xp, got one of "
            f"{library_name(found)}"
        )
    if not found.isdtype(labels.dtype, "integral"):
        raise TypeError(f"labels: expected an integer dtype, got {dtype_name(labels.dtype)}")
    named = getattr(found, dtype, None) if isinstance(dtype, str) else dtype
    try:
        found.isdtype(named, ("bool", "numeric"))
    except (TypeError, ValueError, AttributeError):
        raise TypeError(f"dtype: expected one of {library_name(found)}, got {dtype!r}") from None
    return _one_hot(found, labels, check.count("classes", classes), named)


# --------------------------------------------------------------------------- helpers


def _one_hot(xp: Namespace, labels: Array, classes: int, dtype: Any) -> Array:
    labels = _signed(xp, labels)
    axis = xp.arange(classes, dtype=labels.dtype, device=device_of(labels))
    return xp.astype(xp.expand_dims(labels, axis=-1) == axis, dtype)


def _check_outputs(outputs: Array, weights: Array | None, reduction: str) -> Namespace:
    xp = namespace_of(outputs=outputs)
    check.choice("reduction", reduction, ("mean", "sum"))
    check.floating("outputs", outputs, xp)
    if not outputs.ndim:
        raise ValueError("outputs: expected an array with at least one axis, got one of shape ()")
    if weights is not None:
        check.beside("weights", weights, "outputs", outputs)
        if tuple(weights.shape) != tuple(outputs.shape[:-1]):
            raise ValueError(
                f"weights: expected shape {tuple(outputs.shape[:-1])}, the outputs' "
                f"without the last axis, got {tuple(weights.shape)}"
            )
        if not xp.isdtype(weights.dtype, "bool"):
            check.like("weights", weights, "outputs", outputs)
    return xp


def _row_weights(xp: Namespace, outputs: Array, weights: Array | None) -> Array:
    if weights is not None:
        return xp.astype(weights, outputs.dtype)
    return xp.ones(outputs.shape[:-1], dtype=outputs.dtype, device=device_of(outputs))


def _counted(xp: Namespace, array: Array, weights: Array | None) -> Array:
    """Return labels (...) or rows (..., F) with zeros in the place of what has no weight."""
    if weights is None:
        return array
    counts = weights if weights.dtype == xp.bool else weights != 0
    counts = counts if array.ndim == counts.ndim else xp.expand_dims(counts, axis=-1)
    return xp.where(counts, array, xp.zeros_like(array))


def _is_index(xp: Namespace, outputs: Array, targets: Array) -> bool:
    """Tell class indices from rows by their dtype, and check either's shape."""
    namespace_of(outputs=outputs, targets=targets)
    shape = tuple(outputs.shape)
    if xp.isdtype(targets.dtype, "integral"):
        if tuple(targets.shape) != shape[:-1]:
            raise ValueError(
                f"targets: expected class indices of shape {shape[:-1]}, got {tuple(targets.shape)}"
            )
        return True
    if targets.dtype != outputs.dtype or targets.ndim < outputs.ndim:
        raise TypeError(
            f"targets: expected integer class indices, or rows of shape {shape} and dtype "
            f"{dtype_name(outputs.dtype)}, got {dtype_name(targets.dtype)} of shape "
            f"{tuple(targets.shape)}"
        )
    check.shaped("targets", targets, shape, "outputs", outputs)
    return False


def _check_labels(
    xp: Namespace,
    labels: Array,
    classes: int,
    ignore_index: int | None,
    wanted: bool | None,
) -> None:
    if not (on_host(labels) if wanted is None else wanted):
        return
    good = (labels >= 0) & (labels < classes)
    if ignore_index is not None:
        good = good | (labels == ignore_index)
    good = xp.all(good)
    # Under jit even a comparison of constants is traced; torch.func.vmap has no values either.
    all_good = None if is_traced(xp, good) else read_flag(good)
    if all_good is None and wanted:
        raise ValueError("check_targets: values cannot be read under jax.jit or torch.func.vmap")
    if all_good is False:
        raise ValueError(
            f"targets: expected class indices from 0 to {classes - 1}, "
            f"got values from {int(xp.min(labels))} to {int(xp.max(labels))}"
        )


def _rows_of_labels(
    xp: Namespace,
    outputs: Array,
    labels: Array,
    row_weights: Array,
    ignore_index: int | None,
) -> tuple[Array, Array]:
    """Return one-hot rows, and row weights that are 0 if ignored and NaN if out of range."""
    y = _one_hot(xp, labels, outputs.shape[-1], outputs.dtype)
    valid = (labels >= 0) & (labels < outputs.shape[-1])
    if ignore_index is not None:
        ignored = labels == ignore_index
        row_weights = xp.where(ignored, xp.zeros_like(row_weights), row_weights)
        valid = valid | ignored
    nan = xp.full_like(row_weights, float("nan"))
    return y, xp.where(valid, row_weights, nan)


def _signed(xp: Namespace, labels: Array) -> Array:
    """Return labels in a signed type that holds any class, and a negative ``ignore_index``."""
    name = dtype_name(labels.dtype)
    if name in ("int32", "int64"):
        return labels
    return xp.astype(labels, xp.int64 if name in ("uint32", "uint64") else xp.int32)


def _sum(xp: Namespace, array: Array) -> Array:
    """Sum over all axes, the last first: partial sums round less than one long one."""
    while array.ndim:
        array = sum_over(xp, array, axis=array.ndim - 1)
    return array


def _reduce(
    xp: Namespace,
    value: Array,
    d_outputs: Array,
    weight: Array,
    reduction: str,
) -> tuple[Array, Array]:
    dtype = d_outputs.dtype
    if reduction == "mean":  # half-precision sums are float32 until here
        value, d_outputs = value / weight, xp.astype(d_outputs / weight, dtype, copy=False)
    return xp.astype(xp.asarray(value), dtype, copy=False), d_outputs  # NumPy sums to a scalar
