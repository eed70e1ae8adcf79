"""A choice between the new state and the old, element by element, and its cotangents.

Booleans choose: the new value where true, and the old one, to the bit, where false (steps that are
not valid; zoneout in training). Numbers mix: ``u new + (1 - u) old`` (zoneout in prediction, where
the choice is replaced by its expectation).
"""

from collections.abc import Sequence

from .._arrays.functions import where
from .._arrays.namespace import Array, Namespace
from ..cells import State

__all__ = ["choose", "choose_vjp", "where_true"]


def choose(xp: Namespace, update: Sequence[Array], new: State, old: State) -> State:
    """Return each array of the new state where ``update`` says so, and of the old elsewhere."""
    return tuple(_choose(xp, u, n, o) for u, n, o in zip(update, new, old, strict=True))


def choose_vjp(xp: Namespace, update: Sequence[Array], d_state: State) -> tuple[State, State]:
    """Return the cotangents of the new and of the old state."""
    zeros = tuple(map(xp.zeros_like, d_state))
    d_new, d_old = choose(xp, update, d_state, zeros), choose(xp, update, zeros, d_state)
    return d_new, d_old


def where_true(xp: Namespace, mask: Array | None, array: Array) -> Array:
    """Return an array (..., F) with zeros where the mask (..., 1) is false, whatever was there."""
    return array if mask is None else where(xp, mask, array, xp.zeros_like(array))


def _choose(xp: Namespace, update: Array, new: Array, old: Array) -> Array:
    if update.dtype == xp.bool:
        return xp.where(update, new, old)
    return update * new + (1.0 - update) * old
