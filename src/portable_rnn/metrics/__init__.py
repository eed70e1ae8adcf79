"""Metrics: what a network is judged by, over any number of batches.

A metric is measured on each batch, where its arrays are, and the measurements are combined on the
host: the result is that of all batches at once, and not a mean of results. Give metrics to
:func:`portable_rnn.training.train` and `evaluate`, by name or as objects, or call one:

>>> import numpy as np
>>> from portable_rnn import metrics
>>> outputs, labels = np.asarray([[2.0, 1.0], [0.5, 3.0], [1.0, 0.0]]), np.asarray([0, 1, 1])
>>> round(metrics.Accuracy()(outputs, labels), 3)
0.667

Outputs are those that a loss is given, before any softmax. Common arguments:

outputs : array, shape (..., C)
targets : integer array, shape (...), or array like ``outputs``
    Class indices or, of most metrics, rows.
weights : array, shape (...), optional
    Weight of each step, or a boolean mask, as for the losses: steps of weight 0 do not count,
    whatever they hold. If nothing counts, the result is NaN.
"""

from .classification import F1, Accuracy, BinaryAccuracy, Perplexity, TopKAccuracy
from .metric import Metric
from .regression import R2, MeanAbsoluteError, RootMeanSquaredError

__all__ = [
    "F1",
    "R2",
    "Accuracy",
    "BinaryAccuracy",
    "MeanAbsoluteError",
    "Metric",
    "Perplexity",
    "RootMeanSquaredError",
    "TopKAccuracy",
]
