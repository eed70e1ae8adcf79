"""What the options of cells may be."""

import math
from typing import Any

from ..nonlinearities import Activation, checked

__all__ = ["checked_activations", "checked_bound", "checked_flag"]


def checked_activations(given: Any, count: int) -> tuple[Activation, ...]:
    """Return ``count`` activations as they should be written."""
    if isinstance(given, str) or not isinstance(given, (tuple, list)) or len(given) != count:
        raise ValueError(f"activations: expected {count} of them in a tuple, got {given!r}")
    return tuple(checked(f"activations[{i}]", one) for i, one in enumerate(given))


def checked_bound(clip: Any) -> float | None:
    """Return a bound as a float."""
    if clip is None:
        return None
    if not isinstance(clip, (int, float)) or isinstance(clip, bool):
        raise TypeError(f"clip: expected a Python number or None, got {clip!r}")
    if not 0.0 < clip < math.inf:
        raise ValueError(f"clip: expected a finite number above 0, got {clip!r}")
    return float(clip)


def checked_flag(name: str, value: Any) -> bool:
    """Return True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return value
