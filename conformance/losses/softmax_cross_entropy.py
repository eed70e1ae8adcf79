"""The cross-entropy of a softmax, from labels or rows of probabilities."""

import numpy as np

from ..mutant import Mutant, loss
from .definition import FACTORS, Case, Definition, labels, probabilities, unit

__all__ = ["DEFINITION", "MUTANTS"]


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


def ignored_labels(rng, shape):
    found = labels(rng, shape)
    found[2:4, 1] = -100
    return found


def case_of(targets, **options):
    """Return a case whose options torch has, too, one by another name."""
    theirs = {"weight" if k == "class_weights" else k: v for k, v in options.items()}
    return Case(targets, options, theirs)


DEFINITION = Definition(
    softmax_cross_entropy,
    {
        "labels": case_of(labels),
        "class-weights": case_of(labels, class_weights=FACTORS),
        "ignore_index": case_of(ignored_labels, ignore_index=-100),
        "ignored-class": case_of(labels, ignore_index=2),
        "label-smoothing": case_of(labels, label_smoothing=0.3),
        "all-of-them": case_of(
            ignored_labels, class_weights=FACTORS, ignore_index=-100, label_smoothing=0.1
        ),
        "rows": case_of(probabilities),
        "rows-of-any-sum": case_of(unit),
        "rows-class-weights-smoothing": case_of(
            probabilities, class_weights=FACTORS, label_smoothing=0.2
        ),
    },
    torch="cross_entropy",
    labels=True,
)

MUTANTS = [
    Mutant(
        "row sum left out of the softmax gradient",
        "losses/classification.py",
        "xp.exp(log_p) * total - y",
        "xp.exp(log_p) - y",
        loss("rows-of-any-sum"),
    ),
    Mutant(
        "no shift in the softmax",
        "losses/classification.py",
        "z = z - xp.astype(xp.max(real_part(xp, z), axis=-1, keepdims=True), z.dtype)",
        "z = z",
        "conformance/test_losses.py::test_extreme_logits_do_not_overflow[numpy]",
    ),
]
