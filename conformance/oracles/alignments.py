"""Connectionist temporal classification by its definition: every alignment on its own."""

from itertools import groupby, product

import numpy as np

__all__ = ["loss_of_labels"]


def loss_of_labels(outputs, labels, blank):
    """Return the loss of one sequence (T, C) and its gradient: infinity and NaN if none fits.

    Of all classes at all steps, those count that are the labels once repetitions, and then blanks,
    are removed. The derivative of a product of probabilities is ``1 - p`` for the class of a step,
    and ``-p`` for the others.
    """
    steps, classes = outputs.shape
    outputs = outputs.astype(np.float64)
    log_p = outputs - np.log(np.exp(outputs).sum(axis=1, keepdims=True))
    total, taken = 0.0, np.zeros((steps, classes))
    for path in product(range(classes), repeat=steps):
        if [c for c, _ in groupby(path) if c != blank] != list(labels):
            continue
        probability = np.exp(sum(log_p[t, c] for t, c in enumerate(path)))
        total += probability
        for t, c in enumerate(path):
            taken[t, c] += probability
    if total == 0.0:
        return np.inf, np.full((steps, classes), np.nan)
    return -np.log(total), np.exp(log_p) - taken / total
