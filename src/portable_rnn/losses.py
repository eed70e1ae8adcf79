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
    "mean" divides it by the weight of all steps, as torch does. Where all weights are zero the
    mean is NaN, as in torch, and its gradient is zero.

Losses of float16 and bfloat16 are computed in float32, and rounded once.
"""

import math
from typing import Any, Literal, TypeAlias

from . import _check as check
from ._namespace import (
    Array,
    Namespace,
    device_of,
    dtype_name,
    is_traced,
    library_name,
    namespace_of,
    nan_where,
    on_host,
    on_their_device,
    read_flag,
    real_part,
    row,
    sum_over,
    wider,
)
from .norms import far_unit

__all__ = [
    "binary_cross_entropy",
    "mean_squared_error",
    "one_hot",
    "softmax_cross_entropy",
]

Reduction: TypeAlias = Literal["mean", "sum"]

_MOST_CLASSES = 2**31 - 1  # beyond, a slip would take all memory before it is told


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
        Unnormalised log-probabilities ``o``. A class with -inf has probability 0, and the loss is
        infinite only if the target gives it weight (a label smoothed gives every class some: set
        its class weight to 0). +inf, and rows of -inf alone, have no softmax: NaN, as in torch.
    targets : integer array, shape (...), or array like ``outputs``
        Class indices in ``[0, C)``, or a row y of weights per class. A row need not
        sum to 1: its gradient is ``softmax(o) Σy - y``, which for a one-hot row is
        ``softmax(o) - 1_y`` (equation 10.18).
    weights, reduction
        See :mod:`portable_rnn.losses`.
    class_weights : array, shape (C,), optional
        Factor per class. With class indices, "mean" divides by the weights of the classes met;
        where these are all zero, nothing counts.
    ignore_index : int, optional
        Class index whose steps are left out, whatever their outputs are.
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
    dtype, classes = outputs.dtype, outputs.shape[-1]
    if class_weights is not None:
        check.shaped("class_weights", class_weights, (classes,), "outputs", outputs)
    if ignore_index is not None:
        ignore_index = check.integer("ignore_index", ignore_index)
    if check_targets is not None:
        check_targets = check.flag("check_targets", check_targets)
    counts = _counts(xp, weights)
    indices = _is_index(xp, outputs, targets)
    if indices:
        labels = _counted(xp, _signed(xp, targets), counts)
        limits = xp.iinfo(labels.dtype)
        if ignore_index is not None and not limits.min <= ignore_index <= limits.max:
            ignore_index = None  # which no label is
        known = _check_labels(xp, labels, classes, ignore_index, check_targets)
        if ignore_index is not None:
            there = labels != ignore_index
            counts = there if counts is None else counts & there
    elif ignore_index is not None:
        raise ValueError("ignore_index: expected class indices as targets, got rows")
    rows = _counted(xp, _row_weights(xp, outputs, weights), counts)
    outputs = _wide(xp, outputs, counts)
    if indices:
        y = _one_hot(xp, labels, classes, rows.dtype)
    else:
        known, y = True, _wide(xp, targets, counts)

    scale = rows
    if class_weights is not None:
        factor = row(xp, _wide(xp, class_weights), y.ndim)
        if indices:
            scale = rows * sum_over(xp, y * factor, -1)
    chosen = counts is not None or (class_weights is not None and indices)
    weight, nothing, rows = _divisor(xp, scale, rows, reduction, chosen=chosen)
    if label_smoothing:
        share = xp.sum(y, axis=-1, keepdims=True, dtype=y.dtype)
        y = (1.0 - label_smoothing) * y + (label_smoothing / classes) * share
    if class_weights is not None:
        y = y * factor
    y = y * xp.expand_dims(rows, axis=-1)

    log_p = log_softmax(xp, outputs)
    losses = -sum_over(xp, _times(xp, y, log_p), -1)
    total = xp.sum(y, axis=-1, keepdims=True, dtype=y.dtype)
    if not known:
        losses, total = _nan_of_wrong(xp, labels, classes, counts, losses, total)
    d_outputs = xp.exp(log_p) * total - y
    return _reduced(xp, losses, d_outputs, weight, nothing, dtype)


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
    dtype, counts = outputs.dtype, _counts(xp, weights)
    rows = _row_weights(xp, outputs, weights)
    weight, nothing, rows = _divisor(xp, rows, rows, reduction, chosen=counts is not None)
    difference = _wide(xp, outputs, counts) - _wide(xp, targets, counts)
    unit = far_unit(xp, difference)  # of squares, which may be no numbers where the mean is one
    difference = difference / unit
    weighted = difference * xp.expand_dims(rows, axis=-1)
    if weight is not None:
        weight = weight * outputs.shape[-1]
    squares, d_outputs = weighted * difference, 2.0 * weighted
    return _reduced(xp, squares, d_outputs, weight, nothing, dtype, unit=unit)


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
    dtype, counts = outputs.dtype, _counts(xp, weights)
    rows = _row_weights(xp, outputs, weights)
    weight, nothing, rows = _divisor(xp, rows, rows, reduction, chosen=counts is not None)
    if weight is not None:
        weight = weight * outputs.shape[-1]
    w = xp.expand_dims(rows, axis=-1)
    outputs, targets = _wide(xp, outputs, counts), _wide(xp, targets, counts)
    positive = real_part(xp, outputs) > 0
    shrinking = xp.exp(xp.where(positive, -outputs, outputs))  # exp(-|o|), analytically
    wrong = xp.astype(positive, outputs.dtype) - targets
    value = _times(xp, wrong, outputs) + xp.log1p(shrinking)
    sigmoid = xp.where(positive, xp.ones_like(shrinking), shrinking) / (1.0 + shrinking)
    return _reduced(xp, value * w, (sigmoid - targets) * w, weight, nothing, dtype)


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
    found = check.of_namespace("labels", labels, xp)
    if not found.isdtype(labels.dtype, "integral"):
        raise TypeError(f"labels: expected an integer dtype, got {dtype_name(labels.dtype)}")
    named = getattr(found, dtype, None) if isinstance(dtype, str) else dtype
    try:
        # NumPy would take an array or a number for its dtype.
        good = named is not None and (isinstance(named, type) or not hasattr(named, "dtype"))
        if good:  # a scalar type, such as Python's bool, for a dtype of NumPy
            named = found.zeros(0, dtype=named).dtype
        good = good and found.isdtype(named, ("bool", "numeric"))
    except Exception:  # of whatever kind, from an object of whatever kind
        good = False
    if not good:
        got = check.said(dtype)
        raise TypeError(f"dtype: expected a dtype of {library_name(found)}, got {got}")
    if (classes := check.count("classes", classes)) > _MOST_CLASSES:
        raise ValueError(f"classes: expected at most {_MOST_CLASSES}, got {classes}")
    return _one_hot(found, labels, classes, named)


# --------------------------------------------------------------------------- helpers


def _one_hot(xp: Namespace, labels: Array, classes: int, dtype: Any) -> Array:
    labels = xp.expand_dims(_signed(xp, labels), axis=-1)
    axis = xp.arange(classes, dtype=labels.dtype, device=device_of(labels))
    return xp.astype(labels == row(xp, axis, labels.ndim), dtype)


def _check_outputs(outputs: Array, weights: Array | None, reduction: str) -> Namespace:
    xp = namespace_of(outputs=outputs)
    check.choice("reduction", reduction, ("mean", "sum"))
    check.floating("outputs", outputs, xp)
    if not outputs.ndim or outputs.shape[-1] == 0:
        raise ValueError(
            "outputs: expected at least one in the last axis, "
            f"got an array of shape {tuple(outputs.shape)}"
        )
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


def _counts(xp: Namespace, weights: Array | None) -> Array | None:
    """Return which steps have weight, as booleans; None for all."""
    if weights is None or weights.dtype == xp.bool:
        return weights
    return weights != 0


def _counted(xp: Namespace, array: Array, counts: Array | None) -> Array:
    """Return labels (...) or rows (..., F) with zeros in the place of what does not count."""
    if counts is None:
        return array
    counts = counts if array.ndim == counts.ndim else xp.expand_dims(counts, axis=-1)
    return xp.where(counts, array, xp.zeros_like(array))


def _wide(xp: Namespace, array: Array, counts: Array | None = None) -> Array:
    """Return the numbers that count, half precision as float32."""
    return _counted(xp, xp.astype(array, wider(xp, array.dtype), copy=False), counts)


def _row_weights(xp: Namespace, outputs: Array, weights: Array | None) -> Array:
    dtype = wider(xp, outputs.dtype)
    if weights is not None:
        return xp.astype(weights, dtype, copy=False)
    return xp.ones(outputs.shape[:-1], dtype=dtype, device=device_of(outputs))


def _divisor(
    xp: Namespace, scale: Array, rows: Array, reduction: str, *, chosen: bool
) -> tuple[Any, Any, Array]:
    """Return what the sum is divided by, if by anything; whether nothing counts; and row weights.

    Where nothing counts these are zero, and the divisor is 1. If no rows were ``chosen`` by weights
    or labels, it is known how many there are.
    """
    if reduction == "sum":
        return None, None, rows
    if not chosen and (count := math.prod(rows.shape)):
        return float(count), None, rows
    unit = far_unit(xp, scale)
    scale, rows = scale / unit, rows / unit
    weight = xp.asarray(_sum(xp, scale))
    nothing = xp.asarray(~xp.any(scale != 0))
    weight = xp.where(nothing, xp.ones_like(weight), weight)
    return weight, nothing, xp.where(nothing, xp.zeros_like(rows), rows)


def _times(xp: Namespace, factor: Array, array: Array) -> Array:
    """Return the product, which is 0 where the factor is, of infinity too."""
    zero = xp.zeros((), dtype=array.dtype, device=device_of(array))
    return factor * xp.where(factor == 0, zero, array)


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
) -> bool:
    """Check class indices on the host, or if it is wanted; return whether they are known."""
    if not (on_host(labels) if wanted is None else wanted):
        return False
    good = (labels >= 0) & (labels < classes)
    if ignore_index is not None:
        good = good | (labels == ignore_index)
    good = xp.all(good)
    # Under jit even a comparison of constants is traced; torch.func.vmap has no values either.
    all_good = None if is_traced(xp, good) else read_flag(good)
    if all_good is None:
        if wanted:
            raise ValueError(
                "check_targets: values cannot be read under jax.jit or torch.func.vmap"
            )
        return False
    if not all_good:
        raise ValueError(
            f"targets: expected class indices from 0 to {classes - 1}, "
            f"got values from {int(xp.min(labels))} to {int(xp.max(labels))}"
        )
    return True


def _nan_of_wrong(
    xp: Namespace, labels: Array, classes: int, counts: Array | None, losses: Array, total: Array
) -> tuple[Array, Array]:
    """Return losses and sums of rows, NaN where a label that counts is out of range.

    Here, and not in the weights: XLA takes the product of a one-hot 0 and NaN for 0.
    """
    wrong = (labels < 0) | (labels >= classes)
    if counts is not None:
        wrong = wrong & counts
    return nan_where(xp, wrong, losses), nan_where(xp, xp.expand_dims(wrong, axis=-1), total)


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


def _reduced(
    xp: Namespace,
    losses: Array,
    d_outputs: Array,
    weight: Any,
    nothing: Any,
    dtype: Any,
    unit: Any = None,
) -> tuple[Array, Array]:
    """Return the sum of losses, or their mean, and its gradient, in the dtype of the outputs.

    NaN where nothing counts. The losses are squares of differences counted in ``unit``, if given.
    """
    own = far_unit(xp, losses)
    value = _sum(xp, losses / own)
    if weight is not None:
        value, d_outputs = value / weight, d_outputs / weight
    value = xp.asarray(value * own)  # NumPy sums to a scalar
    if unit is not None:
        value, d_outputs = value * unit * unit, d_outputs * unit
    if nothing is not None:
        value = nan_where(xp, nothing, value)
    return xp.astype(value, dtype, copy=False), xp.astype(d_outputs, dtype, copy=False)
