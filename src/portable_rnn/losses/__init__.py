"""Losses: each value with its gradient, in the form that `bptt` expects of any loss.

A loss is a callable ``(outputs, targets, **options) -> (value, d_outputs)``. The value is a
0-d array of the outputs' library, dtype and device, the gradient has the outputs' shape, and
nothing is read back to the host except where labels are checked. Your own loss may be any
function of that form.

Common options, which every loss here takes:

weights : array, shape of the outputs without their last axis, optional
    Weight of each step of each sequence, or a boolean mask. Zero leaves a step out, whatever its
    outputs and targets are, even NaN and labels out of range. Weights may be negative; if one is
    NaN, the loss is NaN.
reduction : {"mean", "sum"}
    "sum" is the loss of Goodfellow, Bengio, Courville, *Deep Learning* (2016), chapter 10.
    "mean" divides it by the weight of all steps, as torch does. If all weights are zero the
    mean is NaN, as in torch, and its gradient is zero.

Losses of float16 and bfloat16 are computed in float32, and rounded once.
"""

from .binary import binary_cross_entropy, binary_focal_cross_entropy
from .classification import one_hot, softmax_cross_entropy
from .distributions import gaussian_nll, kl_divergence, poisson_nll
from .regression import cosine_distance, huber, mean_squared_error, pinball
from .temporal import ctc, ctc_greedy_decode

__all__ = [
    "binary_cross_entropy",
    "binary_focal_cross_entropy",
    "cosine_distance",
    "ctc",
    "ctc_greedy_decode",
    "gaussian_nll",
    "huber",
    "kl_divergence",
    "mean_squared_error",
    "one_hot",
    "pinball",
    "poisson_nll",
    "softmax_cross_entropy",
]
