"""Optimizers: pure functions ``(params, grads, state) -> (params, state)`` over dicts of arrays.

The state starts as None, and is a plain dict from then on: ``{"step": int, slot: {name: array}}``.
Nothing is updated in place, so the arguments are unchanged; rules and defaults are those of
``torch.optim``. Learning rates may be Python numbers or 0-d arrays; one on the GPU of the
parameters is not read.

Steps are computed in float32 for parameters of float16 and bfloat16, and rounded once; their state
stays in float32. Where torch keeps the mean of squares, which is 0 or infinity for a float32
gradient of 1e-25 or 1e25, the state has its root.

`by_name`, `ema`, `accumulate`, `scale_lr`, `clip_norm` and `mixed_precision` make an optimizer from
others, and `from_optax` from a transformation of optax. The results can be compared, pickled if
what they are made of can, and saved in checkpoints; what they do not change, they pass on.
"""

from .adaptive import adagrad, adam, adamw, rmsprop
from .averaging import accumulate, averaged_params, ema
from .clipping import clip_by_global_norm
from .combinators import by_name, clip_norm, scale_lr
from .descent import lion, sgd
from .inner import Optimizer
from .precision import mixed_precision, scaled_loss
from .transformations import from_optax

__all__ = [
    "Optimizer",
    "accumulate",
    "adagrad",
    "adam",
    "adamw",
    "averaged_params",
    "by_name",
    "clip_by_global_norm",
    "clip_norm",
    "ema",
    "from_optax",
    "lion",
    "mixed_precision",
    "rmsprop",
    "scale_lr",
    "scaled_loss",
    "sgd",
]
