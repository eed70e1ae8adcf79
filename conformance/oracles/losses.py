"""Losses from their definitions, one number at a time, and differentiated by the tape."""

import numpy as np

from .numbers import FLOAT
from .tape import Tape

__all__ = ["LOSSES", "value_and_gradient"]


def softmax_cross_entropy(
    num,
    outputs,
    targets,
    weights,
    class_weights=None,
    ignore_index=None,
    label_smoothing=0.0,
):
    """``-Σ w y log p``, and the weight that its mean is divided by."""
    total, count = num.number(0), 0.0
    classes = len(outputs[0])
    factor = np.ones(classes) if class_weights is None else class_weights
    for z, y, w in zip(outputs, targets, weights, strict=True):
        if np.ndim(y) == 0:
            if ignore_index is not None and y == ignore_index:
                continue
            count, y = count + float(w * factor[y]), np.eye(classes)[y]
        else:
            count += float(w)
        y = (1 - label_smoothing) * y.astype(float) + label_smoothing * sum(map(float, y)) / classes
        shift = max(v.data for v in z)  # of any size: it cancels
        log_sum = num.log(sum(num.exp(v - shift) for v in z))
        for v, y_i, f in zip(z, y, factor, strict=True):
            total = total - float(w) * float(y_i) * float(f) * (v - shift - log_sum)
    return total, count


def mean_squared_error(num, outputs, targets, weights):
    """``Σ w (o - y)²``."""
    total, count = num.number(0), 0.0
    for o, y, w in zip(outputs, targets, weights, strict=True):
        count += float(w) * len(y)
        for v, t in zip(o, y, strict=True):
            total = total + float(w) * (v - float(t)) * (v - float(t))
    return total, count


def binary_cross_entropy(num, outputs, targets, weights):
    """``-Σ w (y log s(o) + (1 - y) log s(-o))``."""
    total, count = num.number(0), 0.0
    for o, y, w in zip(outputs, targets, weights, strict=True):
        count += float(w) * len(y)
        for v, t in zip(o, y, strict=True):
            yes, no = num.log(num.sigmoid(v)), num.log(num.sigmoid(-v))
            total = total - float(w) * (float(t) * yes + (1 - float(t)) * no)
    return total, count


LOSSES = {f.__name__: f for f in (softmax_cross_entropy, mean_squared_error, binary_cross_entropy)}


def value_and_gradient(name, outputs, targets, *, weights=None, reduction="mean", **options):
    """Return the loss and its gradient, float64, for outputs (..., C) of any leading shape."""
    tape, shape = Tape(FLOAT), outputs.shape
    rows = np.frompyfunc(tape.number, 1, 1)(outputs.reshape(-1, shape[-1]).astype("float64"))
    wanted = targets.reshape(-1, shape[-1]) if targets.ndim == len(shape) else targets.reshape(-1)
    counted = np.ones(len(rows)) if weights is None else np.asarray(weights).reshape(-1)
    total, count = LOSSES[name](tape, rows, wanted, counted, **options)
    scale = 1.0 / count if reduction == "mean" else 1.0
    tape.pull_back([(total, scale)])
    gradient = np.asarray([v.grad for v in rows.flat], dtype="float64").reshape(shape)
    return np.asarray(total.data * scale), gradient
