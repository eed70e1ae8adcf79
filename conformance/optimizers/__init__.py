"""What the optimizers are held to: a page for each kind, with its ``RULES``.

Whatever page lies in this folder takes part. Steps are computed one Python float at a time.
"""

import importlib
import math
import pkgutil
from collections.abc import Mapping
from typing import Any

import numpy as np

from .rule import Rule

__all__ = ["CASES", "RULES", "Rule", "clipped", "steps"]

RULES: dict[str, Rule] = {
    rule.name: rule
    for found in pkgutil.iter_modules(__path__)
    if found.name != "rule"
    for rule in importlib.import_module(f"{__name__}.{found.name}").RULES
}
# All ordinary cases by name: of which optimizer, and its options.
CASES: dict[str, tuple[str, Mapping[str, Any]]] = {
    case: (rule.name, options) for rule in RULES.values() for case, options in rule.cases.items()
}


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
                RULES[name].step(p, g, own, step, **options)
                for p, g, own in zip(numbers, slopes, kept, strict=True)
            ]
        found[f"params[{key}]"] = np.reshape(numbers, array.shape)
        for slot in kept[0]:
            found[f"{slot}[{key}]"] = np.reshape([own[slot] for own in kept], array.shape)
    return found
