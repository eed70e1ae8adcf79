"""Between the caller's layout and the one inside: time-major, batched, states (B, H) per layer.

Outside, sequences are (T, B, F), (B, T, F) with ``batch_first``, or (T, F) for a single one, and
states have torch's leading axis of layers times directions. Inside, the states of sequences of
different lengths are sorted by length: ``order`` is where each one comes from, ``inverse`` where it
went. Sequences are only viewed anew; states that are handed out are copies.
"""

from typing import Any

from .._arrays.checks import state_of, state_parts
from .._arrays.functions import stack
from .._arrays.namespace import Array, Namespace, namespace_of
from ..cells import State
from ..model import RNN

__all__ = [
    "mask_inward",
    "mask_outward",
    "sizes",
    "state_inward",
    "state_outward",
    "time_major",
    "time_major_outward",
]


def sizes(model: RNN, sequence: Array) -> tuple[int, int]:
    """Return how many steps and sequences there are in a caller's sequence."""
    if sequence.ndim == 2:
        return sequence.shape[0], 1
    first, second = sequence.shape[:2]
    return (second, first) if model.batch_first else (first, second)


def mask_inward(model: RNN, mask: Array | None) -> Array | None:
    """Bring a caller's mask to (T, B)."""
    if mask is None:
        return None
    if mask.ndim == 1:
        return namespace_of(mask=mask).expand_dims(mask, axis=1)
    return mask.T if model.batch_first else mask


def mask_outward(model: RNN, mask: Array, *, batched: bool) -> Array:
    """Undo `mask_inward`: give (T, B) back in the caller's layout."""
    if not batched:
        return mask[:, 0]
    return mask.T if model.batch_first else mask


def time_major(xp: Namespace, model: RNN, sequence: Array) -> Array:
    """Bring a caller's sequence to (T, B, F)."""
    if sequence.ndim == 2:
        return xp.expand_dims(sequence, axis=1)
    return xp.permute_dims(sequence, (1, 0, 2)) if model.batch_first else sequence


def time_major_outward(xp: Namespace, model: RNN, sequence: Array, *, batched: bool) -> Array:
    """Undo `time_major`: give (T, B, F) back in the caller's layout."""
    if not batched:
        return sequence[:, 0, :]
    return xp.permute_dims(sequence, (1, 0, 2)) if model.batch_first else sequence


def state_inward(
    xp: Namespace, state: Any, order: Array | None = None, *, batched: bool
) -> tuple[State, ...]:
    """Turn a caller's state into arrays (B, H): a tuple of them for each layer and direction."""
    parts = state_parts(state)
    if not batched:
        parts = tuple(xp.expand_dims(part, axis=1) for part in parts)
    return tuple(
        tuple(_sorted(xp, part[i, :, :], order) for part in parts) for i in range(parts[0].shape[0])
    )


def state_outward(
    xp: Namespace, states: tuple[State, ...], inverse: Array | None = None, *, batched: bool
) -> Any:
    """Undo `state_inward`; a lone array is handed out without its tuple."""
    # New arrays, for the tape holds these, and the caller may write into what is handed out.
    parts = []
    for layers in zip(*states, strict=True):
        one_by_one = [_sorted(xp, part, inverse) for part in layers]
        parts.append(stack(xp, one_by_one) if batched else xp.concat(one_by_one))
    return state_of(parts)


def _sorted(xp: Namespace, state: Array, order: Array | None) -> Array:
    return state if order is None else xp.take(state, order, axis=0)
