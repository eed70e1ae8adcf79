"""The rules of the optimizers as their papers have them, one Python float at a time.

Each rule takes a parameter, its gradient, the numbers kept from the step before (a dict, empty at
first), the step counted from 1, and the options; it returns the parameter, and writes what is to
be kept.
"""

import math

import numpy as np

__all__ = ["RULES", "clipped", "steps"]


def sgd(p, g, kept, _, *, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
    """Polyak (1964); with ``nesterov``, Sutskever et al. (2013) as torch.optim has it."""
    g = g + weight_decay * p
    if momentum == 0.0:
        return p - lr * g
    kept["momentum"] = momentum * kept.get("momentum", 0.0) + g
    return p - lr * (g + momentum * kept["momentum"] if nesterov else kept["momentum"])


def rmsprop(p, g, kept, _, *, lr, alpha=0.99, eps=1e-8):
    """Hinton (2012), lecture 6e."""
    square = alpha * kept.get("root_mean_square", 0.0) ** 2 + (1.0 - alpha) * g**2
    kept["root_mean_square"] = math.sqrt(square)
    return p - lr * g / (math.sqrt(square) + eps)


def adam(p, g, kept, step, *, lr, betas=(0.9, 0.999), eps=1e-8):
    """Kingma and Ba, arXiv 1412.6980, algorithm 1."""
    kept["mean"] = betas[0] * kept.get("mean", 0.0) + (1.0 - betas[0]) * g
    square = betas[1] * kept.get("root_mean_square", 0.0) ** 2 + (1.0 - betas[1]) * g**2
    kept["root_mean_square"] = math.sqrt(square)
    mean = kept["mean"] / (1.0 - betas[0] ** step)
    return p - lr * mean / (math.sqrt(square / (1.0 - betas[1] ** step)) + eps)


def adamw(p, g, kept, step, *, lr, weight_decay=1e-2, **options):
    """Loshchilov and Hutter, arXiv 1711.05101: the decay is no part of the gradient."""
    return adam(p * (1.0 - lr * weight_decay), g, kept, step, lr=lr, **options)


RULES = {rule.__name__: rule for rule in (sgd, rmsprop, adam, adamw)}


def clipped(grads, max_norm):
    """Return gradients of a joint 2-norm of at most ``max_norm``, and the norm."""
    norm = math.hypot(*(float(g) for array in grads.values() for g in array.flat))
    factor = min(1.0, max_norm / norm)
    return {name: array.astype("float64") * factor for name, array in grads.items()}, norm


def steps(name, params, grads, **options):
    """Take a step for each of ``grads``; return parameters and kept numbers by name, float64."""
    found = {}
    for key, array in params.items():
        numbers, kept = [float(p) for p in array.flat], [{} for _ in array.flat]
        for step, of_step in enumerate(grads, start=1):
            slopes = [float(g) for g in of_step[key].flat]
            numbers = [
                RULES[name](p, g, own, step, **options)
                for p, g, own in zip(numbers, slopes, kept, strict=True)
            ]
        found[f"params[{key}]"] = np.reshape(numbers, array.shape)
        for slot in kept[0]:
            found[f"{slot}[{key}]"] = np.reshape([own[slot] for own in kept], array.shape)
    return found
