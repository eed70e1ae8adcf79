"""The one time loop.

``scan`` has the contract of ``jax.lax.scan``: ``f(carry, x_t) -> (carry, y_t)`` is applied
along time, forwards or in reverse, and the ``y_t`` come back in the order of time.

A sequence takes one of two forms. Where Python runs the loop it is a **list of steps**:
nothing is copied, and what one step keeps (its residuals) stays the very array it was.
Where XLA runs the loop it is **one stacked array** (or a tuple of them), because that is what
``lax.scan`` consumes. `split`, `join` and `shift` pass between the two, so the calculus in
``_engine/bptt.py`` is written without knowing which one it holds.
"""

import sys
from collections.abc import Callable
from typing import Any, TypeAlias

from .._arrays.namespace import Array, Namespace

__all__ = ["Sequence", "join", "scan", "shift", "split"]

Sequence: TypeAlias = Any  # list of steps, or the same steps stacked along axis 0
Step: TypeAlias = Callable[[Any, Any], tuple[Any, Any]]


def scan(
    f: Step, carry: Any, xs: tuple[Sequence, ...], *, reverse: bool = False
) -> tuple[Any, Any]:
    """Apply ``f`` along time, threading ``carry`` through.

    Parameters
    ----------
    f : callable
        ``f(carry, x_t) -> (carry, y_t)`` where ``x_t`` and ``y_t`` are tuples.
    carry : tuple of arrays
        The value handed to the first step.
    xs : tuple of sequences
        All lists of T steps, or all stacked along axis 0 (then XLA runs the loop).
    reverse : bool
        Run from the last step to the first. The order of the ``y_t`` is that of time
        either way.

    Returns
    -------
    carry : tuple of arrays
        The value after the last step run.
    ys : tuple of sequences
        One sequence per entry of ``y_t``, in the form of ``xs``.
    """
    if not all(isinstance(sequence, list) for sequence in xs):
        # Stacked sequences are JAX tracers: jax is loaded, and stays un-imported here.
        return sys.modules["jax"].lax.scan(f, carry, xs, reverse=reverse)  # type: ignore[no-any-return]

    steps = list(zip(*xs, strict=True))
    ys = []
    for x_t in reversed(steps) if reverse else steps:
        carry, y_t = f(carry, x_t)
        ys.append(y_t)
    if reverse:
        ys.reverse()
    return carry, tuple(map(list, zip(*ys, strict=True)))


def split(array: Array | None, steps: int, *, stacked: bool) -> Sequence:
    """Turn an array (T, ...) into a sequence over its first axis, and None into one of None."""
    if stacked:
        return array
    return [None] * steps if array is None else [array[t, ...] for t in range(steps)]


def join(xp: Namespace, sequence: Sequence) -> Array:
    """Turn a sequence of arrays (...) into one array (T, ...)."""
    return xp.stack(sequence) if isinstance(sequence, list) else sequence


def shift(xp: Namespace, first: Array, sequence: Sequence, *, reverse: bool = False) -> Sequence:
    """Return the sequence one step late: ``first``, then all but the last.

    In reverse, "late" is towards the past: all but the first step, then ``first``.
    """
    if isinstance(sequence, list):
        return [*sequence[1:], first] if reverse else [first, *sequence[:-1]]
    lone = xp.expand_dims(first, axis=0)
    return xp.concat([sequence[1:, ...], lone] if reverse else [lone, sequence[:-1, ...]])
