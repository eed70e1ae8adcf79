"""What a batch is, and what a source of them has."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from .._arrays import checks as check
from .._arrays.namespace import Array, check_library_and_device, check_shape, namespace_of
from .._arrays.shown import short_repr

__all__ = ["Batch", "Batches", "check_arrays", "sequences_of"]


class Batch(NamedTuple):
    """One batch.

    Attributes
    ----------
    x : array, shape (T, B, I), or of tokens (T, B)
        Inputs, in the layout of the model.
    targets : array, shape as the loss expects
    weights : array, shape (T, B), or None
        Weight of each step, passed to the loss.
    fresh : bool
        Whether the state is reset instead of carried over from the batch before.
    lengths : integer array, shape (B,), or None
        How many steps each sequence has.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.batches import Batch
    >>> Batch(np.ones((5, 2, 3)), np.zeros((5, 2))).fresh
    True
    """

    x: Array
    targets: Array
    weights: Array | None = None
    fresh: bool = True
    lengths: Any = None

    def __repr__(self) -> str:
        return short_repr(self)


class Batches(Protocol):
    """A source of batches: any object with these three members.

    `train` needs ``steps_per_epoch`` only for ``validation``, and ``describe`` only with a
    checkpoint; `evaluate` needs no ``describe``.

    It may also have ``batch_axis``, the axis of the sequences in its arrays: 1, or 0 if they are
    (B, T, I). `train` and `evaluate` then check that it is that of the model.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.batches import Batch
    >>> class Noise:
    ...     steps_per_epoch = 10
    ...
    ...     def batch(self, step):
    ...         x = np.random.default_rng([7, step]).normal(size=(5, 2, 3))
    ...         return Batch(x, x[:, :, :1])
    ...
    ...     def describe(self):
    ...         return {"kind": "noise", "seed": 7}
    >>> source = Noise()
    >>> bool((source.batch(3).x == source.batch(3).x).all())
    True
    """

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in which everything is seen once."""

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, counted from 0."""

    def describe(self) -> dict[str, Any]:
        """Return what determines the batches, as plain values; compared when a run is resumed."""


def check_arrays(arrays: Mapping[str, Array]) -> None:
    """Check that arrays hold numbers, and are of one library and on one device."""
    namespace_of(**arrays)
    for name, array in arrays.items():
        check_library_and_device(name, array, "x", arrays["x"])
        check.numeric(name, array)


def sequences_of(
    arrays: Mapping[str, Any], batch_size: Any, batch_axis: int
) -> tuple[int, int, tuple[int, int, int]]:
    """Check the shapes of x, targets and perhaps weights, and the batch size.

    Return the number of sequences, the batch size, and along which axis sequences are in each.
    """
    shapes = {name: tuple(array.shape) for name, array in arrays.items()}
    first, second = shapes["x"], shapes["targets"]
    if len(first) < 2 or 0 in first[:2]:
        wanted = "(N, T, ...)" if batch_axis == 0 else "(T, N, ...)"
        raise ValueError(
            f"x: expected shape {wanted}, of at least one sequence and step, got {first}"
        )
    count: int = first[batch_axis]
    # Targets of whole sequences have no axis of time: (N,), or rows (N, O).
    of_rows = len(shapes.get("weights", ())) == 1
    whole = second[:1] == (count,) and (of_rows or second[:2] != first[:2])
    axis = 0 if whole else batch_axis
    if len(second) <= axis or second[axis] != count:
        raise ValueError(
            f"targets: expected {count} sequences along axis {batch_axis} like x, or a target for "
            f"each, got shape {second}"
        )
    if "weights" in arrays:
        check_shape("weights", arrays["weights"], (count,) if whole else first[:2])
    size = check.count("batch_size", batch_size)
    if size > count:
        raise ValueError(f"batch_size: expected 1 to {count} sequences, got {size}")
    return count, size, (batch_axis, axis, axis)
