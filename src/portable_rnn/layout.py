"""Between the caller's layout and the one inside: time-major, batched, state arrays (B, H).

Outside, sequences are (T, B, F), (B, T, F) with ``batch_first``, or (T, F) for a single one, and
states have torch's leading axis of layers times directions. Sequences are only viewed anew;
states that are handed out are copies.
"""

from typing import Any

from ._check import state_parts
from ._namespace import Array, Namespace
from .model import RNN

__all__ = ["state_inward", "state_outward", "time_major", "time_major_outward"]


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


def state_inward(state: Any, *, batched: bool) -> tuple[Array, ...]:
    """Turn a caller's state into a tuple of arrays (B, H)."""
    return tuple(part[0, :, :] if batched else part for part in state_parts(state))


def state_outward(xp: Namespace, state: tuple[Array, ...], *, batched: bool) -> Any:
    """Give arrays (B, H) torch's leading axis; a lone array is handed out without its tuple."""
    # New arrays, for the tape holds these, and the caller may write into what is handed out.
    parts = tuple(xp.stack([part]) if batched else xp.concat([part]) for part in state)
    return parts[0] if len(parts) == 1 else parts
