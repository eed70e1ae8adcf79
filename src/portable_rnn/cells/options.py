"""What the options of cells may be."""

from typing import Any

from .._arrays.scalars import number, said
from ..nonlinearities import Activation, checked

__all__ = ["checked_activations", "checked_bound"]


def checked_activations(given: Any, count: int) -> tuple[Activation, ...]:
    """Return ``count`` activations as they should be written."""
    if isinstance(given, str) or not isinstance(given, (tuple, list)) or len(given) != count:
        raise ValueError(f"activations: expected {count} of them in a tuple, got {said(given)}")
    return tuple(checked(f"activations[{i}]", one) for i, one in enumerate(given))


def checked_bound(clip: Any) -> float | None:
    """Return a bound as a float."""
    if clip is None:
        return None
    return number("clip", clip, above=0.0)
