"""Convert between the caller's layout and the internal one.

The caller's sequences are (T, B, F), (B, T, F) with ``batch_first``, or (T, F) for a single one,
and states have torch's leading axis of layers times directions. Internally, sequences are
time-major and batched, and states are (B, H) per layer. States of sequences of different lengths
are sorted by length: ``order`` is where each one comes from, ``inverse`` where it went. Sequences
are views; returned states are copies.
"""

from typing import Any

from .._arrays.checks import state_of, state_parts
from .._arrays.functions import concatenate, stack
from .._arrays.namespace import Array, Namespace, namespace_of
from ..cells import State
from ..model import RNN

__all__ = [
    "mask_inward",
    "mask_outward",
    "outputs_shape",
    "sizes",
    "state_inward",
    "state_outward",
    "time_major",
    "time_major_outward",
]


def sizes(model: RNN, sequence: Array) -> tuple[int, int]:
    """Return the numbers of steps and sequences in a caller's sequence."""
    if sequence.ndim == 2:
        return sequence.shape[0], 1
    first, second = sequence.shape[:2]
    return (second, first) if model.batch_first else (first, second)


def outputs_shape(model: RNN, x: Array) -> tuple[int, ...]:
    """Return the shape of the outputs in the caller's layout, for vectors ``x``."""
    if model.pool is None:
        return (*x.shape[:-1], model.feature_size)
    return (*sizes(model, x)[1:], model.feature_size) if x.ndim == 3 else (model.feature_size,)


def mask_inward(model: RNN, mask: Array | None) -> Array | None:
    """Convert a caller's mask to (T, B)."""
    if mask is None:
        return None
    if mask.ndim == 1:
        return namespace_of(mask=mask).expand_dims(mask, axis=1)
    return mask.T if model.batch_first else mask


def mask_outward(model: RNN, mask: Array, *, batched: bool) -> Array:
    """Undo `mask_inward`: convert (T, B) to the caller's layout."""
    if not batched:
        return mask[:, 0]
    return mask.T if model.batch_first else mask


def time_major(xp: Namespace, model: RNN, sequence: Array) -> Array:
    """Convert a caller's sequence to (T, B, F)."""
    if sequence.ndim == 2:
        return xp.expand_dims(sequence, axis=1)
    return xp.permute_dims(sequence, (1, 0, 2)) if model.batch_first else sequence


def time_major_outward(xp: Namespace, model: RNN, sequence: Array, *, batched: bool) -> Array:
    """Undo `time_major`: convert (T, B, F) to the caller's layout."""
    if not batched:
        return sequence[:, 0, :]
    return xp.permute_dims(sequence, (1, 0, 2)) if model.batch_first else sequence


def state_inward(
    xp: Namespace, state: Any, order: Array | None = None, *, batched: bool
) -> tuple[State, ...]:
    """Convert a caller's state to tuples of arrays (B, H), one for each layer and direction."""
    parts = state_parts(state)
    if not batched:
        parts = tuple(xp.expand_dims(part, axis=1) for part in parts)
    return tuple(
        tuple(_sorted(xp, part[i, :, :], order) for part in parts) for i in range(parts[0].shape[0])
    )


def state_outward(
    xp: Namespace, states: tuple[State, ...], inverse: Array | None = None, *, batched: bool
) -> Any:
    """Undo `state_inward`; return a single array without a tuple."""
    # New arrays: the tape holds the old ones, and the caller may write into what is returned.
    parts = []
    for layers in zip(*states, strict=True):
        one_by_one = [_sorted(xp, part, inverse) for part in layers]
        parts.append(stack(xp, one_by_one) if batched else concatenate(xp, one_by_one))
    return state_of(parts)


def _sorted(xp: Namespace, state: Array, order: Array | None) -> Array:
    return state if order is None else xp.take(state, order, axis=0)
