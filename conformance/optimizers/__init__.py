"""What the optimizers are checked against: a page for each kind, with its ``RULES``.

A page also has ``MUTANTS``, bugs that the suite must notice. Every page in this folder takes part.
Steps are computed one Python float at a time.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..pages import by_name, load_pages
from .rule import Rule

__all__ = ["ALL_CASES", "CASES", "MUTANTS", "RULES", "Rule", "clipped", "steps"]

_PAGES = load_pages(__name__, __path__, without="rule")
RULES: dict[str, Rule] = by_name((rule.name, rule) for page in _PAGES for rule in page.RULES)
MUTANTS = [mutant for page in _PAGES for mutant in page.MUTANTS]
# By name: the optimizer, and its options. First those whose steps are exact enough for five.
CASES: dict[str, tuple[str, Mapping[str, Any]]] = by_name(
    (case, (rule.name, options)) for rule in RULES.values() for case, options in rule.cases.items()
)
ALL_CASES: dict[str, tuple[str, Mapping[str, Any]]] = by_name(
    (f"{case} ({which})" if which else case, (rule.name, options))
    for rule in RULES.values()
    for which, cases in (("", rule.cases), ("any size", rule.any_size), ("other", rule.others))
    for case, options in cases.items()
)


def clipped(grads, max_norm):
    """Return gradients of a joint 2-norm of at most ``max_norm``, and the norm."""
    norm = math.hypot(*(float(g) for array in grads.values() for g in array.flat))
    factor = min(1.0, max_norm / norm)
    return {name: array.astype("float64") * factor for name, array in grads.items()}, norm


def steps(name, params, grads, **options):
    """Take a step for each of ``grads``; return parameters and kept numbers by name, float64."""
    found = {}
    for key, array in params.items():
        numbers = [float(p) for p in array.flat]
        kept: list[dict[str, float]] = [{} for _ in numbers]
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
