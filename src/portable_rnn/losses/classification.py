"""Losses of classes: the cross-entropy of a softmax, and what it is made of."""

from typing import Any

from .._arrays import checks as check
from .._arrays.devices import with_device_of_arguments
from .._arrays.functions import (
    dtype_is_kind,
    real_part,
    row,
    sum_over,
    to_accumulation_dtype,
    with_last_axis,
)
from .._arrays.namespace import (
    Array,
    Namespace,
    check_of_namespace,
    check_shaped,
    dtype_name,
    library_name,
)
from .._labels import check_labels, is_index, mark_wrong, one_hot_rows, signed
from .._reduction import (
    Reduction,
    check_outputs,
    counted_steps,
    counted_values,
    divisor,
    multiply,
    reduce_losses,
    row_weights,
    zero_uncounted,
)

__all__ = [
    "log_softmax",
    "one_hot",
    "softmax_cross_entropy",
]

_MOST_CLASSES = 2**31 - 1  # a larger number is probably a mistake, and would take all memory


@check.named_options
@with_device_of_arguments
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
    """Compute the negative log-likelihood of a softmax, ``-Σ_t Σ_i y_i log softmax(o)_i``.

    Parameters
    ----------
    outputs : array, shape (..., C)
        Unnormalised log-probabilities ``o``. A class with -inf has probability 0, and the loss is
        infinite only if the target gives it weight (label smoothing gives every class some: set
        its class weight to 0). +inf, and rows of only -inf, have no softmax: NaN, as in torch.
    targets : integer array, shape (...), or array like ``outputs``
        Class indices in ``[0, C)``, or a row y of weights per class. A row need not
        sum to 1: its gradient is ``softmax(o) Σy - y``, which for a one-hot row is
        ``softmax(o) - 1_y`` (equation 10.18).
    weights, reduction
        See :mod:`portable_rnn.losses`.
    class_weights : array, shape (C,), optional
        Factor per class. With class indices, "mean" divides by the weights of the classes that
        occur; if these are all zero, nothing counts.
    ignore_index : int, optional
        Class index whose steps are left out, whatever their outputs are.
    label_smoothing : float in [0, 1]
        Share of each target that is spread evenly over all classes.
    check_targets : bool, optional
        Whether to read the class indices and refuse any outside ``[0, C)``. By default this is done
        if they are on the host. Unchecked, a wrong index makes the loss NaN.

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
    xp = check_outputs(outputs, weights, reduction)
    label_smoothing = check.number("label_smoothing", label_smoothing, least=0.0, most=1.0)
    dtype, classes = outputs.dtype, outputs.shape[-1]
    if class_weights is not None:
        check_shaped("class_weights", class_weights, (classes,), "outputs", outputs)
    if ignore_index is not None:
        ignore_index = check.integer("ignore_index", ignore_index)
    if check_targets is not None:
        check_targets = check.flag("check_targets", check_targets)
    counts = counted_steps(xp, weights)
    indices = is_index(xp, outputs, targets)
    if indices:
        labels = zero_uncounted(xp, signed(xp, targets), counts)
        limits = xp.iinfo(labels.dtype)
        if ignore_index is not None and not limits.min <= ignore_index <= limits.max:
            ignore_index = None  # no label can equal it
        known = check_labels(xp, labels, classes, ignore_index, check_targets)
        if ignore_index is not None:
            valid = labels != ignore_index
            counts = valid if counts is None else counts & valid
    elif classes == 1:
        raise ValueError(
            "targets: expected class indices, or rows of at least two classes (with one class the "
            f"loss is always 0), got shape {tuple(targets.shape)}; for numbers give "
            "loss=mean_squared_error, for yes or no binary_cross_entropy"
        )
    elif ignore_index is not None:
        raise ValueError("ignore_index: expected class indices as targets, got rows")
    rows = zero_uncounted(xp, row_weights(xp, outputs, weights), counts)
    outputs = counted_values(xp, outputs, counts)
    if indices:
        y = one_hot_rows(xp, labels, classes, rows.dtype)
    else:
        known, y = True, counted_values(xp, targets, counts)

    scale = rows
    if class_weights is not None:
        factor = row(xp, to_accumulation_dtype(xp, class_weights), y.ndim)
        if indices:
            scale = rows * sum_over(xp, y * factor, -1)
    chosen = counts is not None or (class_weights is not None and indices)
    weight, nothing, rows = divisor(xp, scale, rows, reduction, chosen=chosen)
    if label_smoothing:
        share = xp.sum(y, axis=-1, keepdims=True, dtype=y.dtype)
        y = (1.0 - label_smoothing) * y + (label_smoothing / classes) * share
    if class_weights is not None:
        y = y * factor
    y = y * with_last_axis(xp, rows)

    log_p = log_softmax(xp, outputs)
    losses = -sum_over(xp, multiply(xp, y, log_p), -1)
    total = xp.sum(y, axis=-1, keepdims=True, dtype=y.dtype)
    if not known:
        losses, total = mark_wrong(xp, labels, classes, counts, losses, total)
    d_outputs = xp.exp(log_p) * total - y
    return reduce_losses(xp, losses, d_outputs, weight, nothing, dtype)


def log_softmax(xp: Namespace, z: Array) -> Array:
    """Return ``log softmax(z)`` over the last axis, without overflow."""
    # The shift cancels, so its derivative is not needed, and the real part suffices.
    z = z - xp.astype(xp.max(real_part(xp, z), axis=-1, keepdims=True), z.dtype)
    return z - xp.log(xp.sum(xp.exp(z), axis=-1, keepdims=True, dtype=z.dtype))


@check.named_options
@with_device_of_arguments
def one_hot(xp: Namespace, labels: Array, classes: int, dtype: Any) -> Array:
    """Return rows with a 1 at each label, shape (..., classes).

    Labels are compared rather than used as indices: no library wraps, raises or reorders here, and
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
    found = check_of_namespace("labels", labels, xp)
    if not dtype_is_kind(found, labels.dtype, "integral"):
        raise TypeError(f"labels: expected an integer dtype, got {dtype_name(labels.dtype)}")
    named = getattr(found, dtype, None) if isinstance(dtype, str) else dtype
    try:
        # NumPy would accept an array or a number as a dtype.
        good = named is not None and (isinstance(named, type) or not hasattr(named, "dtype"))
        if good:  # NumPy accepts a scalar type, such as Python's bool, as a dtype
            named = found.zeros(0, dtype=named).dtype
        good = good and dtype_is_kind(found, named, ("bool", "numeric"))
    except Exception:  # any object may be given, and raise anything
        good = False
    if not good:
        got = check.said(dtype)
        raise TypeError(f"dtype: expected a dtype of {library_name(found)}, got {got}")
    if (classes := check.count("classes", classes)) > _MOST_CLASSES:
        raise ValueError(f"classes: expected at most {_MOST_CLASSES}, got {classes}")
    return one_hot_rows(found, labels, classes, named)
