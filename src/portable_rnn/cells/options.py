"""Check the options of cells."""

from typing import Any

from .._arrays.scalars import number, said
from ..nonlinearities import Activation, checked

__all__ = ["checked_activations", "checked_bound"]


def checked_activations(given: Any, count: int) -> tuple[Activation, ...]:
    """Check ``count`` activations; return them in standard form."""
    if isinstance(given, str) or not isinstance(given, (tuple, list)) or len(given) != count:
        raise ValueError(f"activations: expected {count} of them in a tuple, got {said(given)}")
    return tuple(checked(f"activations[{i}]", one) for i, one in enumerate(given))


def checked_bound(clip: Any) -> float | None:
    """Check a bound; return it as a float, or None."""
    if clip is None:
        return None
    return number("clip", clip, above=0.0)
