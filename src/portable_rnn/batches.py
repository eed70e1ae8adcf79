"""Sources of batches for training: shuffled sequences, or windows of one long sequence.

A source returns ``batch(step)`` for any step, from its arrays, its seed and nothing else. So the
position in the data *is* the step, and the random state *is* the seed: a resumed run sees the
same batches as one that was not interrupted.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from ._arrays import checks as check
from ._arrays.devices import device_context
from ._arrays.functions import take
from ._arrays.namespace import Array, check_library_and_device, check_shape, device_of, namespace_of
from ._arrays.shown import short_repr
from ._calls.valid_steps import read_lengths

__all__ = ["Batch", "Batches", "Shuffled", "Windows"]


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


@check.named_options
class Shuffled:
    """Independent sequences, in a new order every epoch.

    Parameters
    ----------
    x : array, shape (T, N, I) or of tokens (T, N), or with ``batch_axis=0`` N first
    targets : array with the axes of N sequences and T steps; or (N,) or (N, O), for each one target
        With as many steps as sequences and classes, (N, N) is taken for the former, unless there
        are weights (N,).
    batch_size : int
        The last batch of an epoch holds the remaining sequences.
    weights : array, shape (T, N) or (N, T), or (N,) with one target for each, optional
        Weights of steps, or of sequences, passed to the loss.
    lengths : sequence of N ints, or integer array on the host, optional
        How many steps each sequence has; `portable_rnn.ragged.pack` returns them.
    seed : int
    batch_axis : int
        1 for time-major sequences, 0 with ``batch_first``. An attribute as well.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.batches import Shuffled
    >>> source = Shuffled(np.zeros((5, 10, 3)), np.zeros((5, 10)), batch_size=4)
    >>> [source.batch(step).x.shape for step in range(source.steps_per_epoch)]
    [(5, 4, 3), (5, 4, 3), (5, 2, 3)]
    """

    def __init__(
        self,
        x: Array,
        targets: Array,
        *,
        batch_size: int,
        weights: Array | None = None,
        lengths: Any = None,
        seed: int = 0,
        batch_axis: int = 1,
    ) -> None:
        self.batch_axis = check.integer("batch_axis", batch_axis, least=0, most=1)
        given = {"x": x, "targets": targets} | ({} if weights is None else {"weights": weights})
        _check_arrays(given)
        if x.ndim < 2 or 0 in x.shape[:2]:
            wanted = "(N, T, ...)" if self.batch_axis == 0 else "(T, N, ...)"
            raise ValueError(
                f"x: expected shape {wanted}, of at least one sequence and step, "
                f"got {tuple(x.shape)}"
            )
        count: int = x.shape[self.batch_axis]
        shape, along = tuple(targets.shape), f"along axis {self.batch_axis} like x"
        # Targets of whole sequences have no axis of time: (N,), or rows (N, O).
        of_rows = weights is not None and weights.ndim == 1
        whole = shape[:1] == (count,) and (of_rows or shape[:2] != tuple(x.shape[:2]))
        axis = 0 if whole else self.batch_axis
        if len(shape) <= axis or shape[axis] != count:
            raise ValueError(
                f"targets: expected {count} sequences {along}, or a target for each, got shape "
                f"{shape}"
            )
        if weights is not None:
            check_shape("weights", weights, (count,) if whole else tuple(x.shape[:2]))
        batch_size = check.count("batch_size", batch_size)
        if batch_size > count:
            raise ValueError(f"batch_size: expected 1 to {count} sequences, got {batch_size}")
        self._lengths: np.ndarray[Any, Any] | None = None
        if lengths is not None:
            self._lengths = read_lengths(lengths, x.shape[1 - self.batch_axis], count)
            if self._lengths is None:
                raise TypeError("lengths: expected a list or an array on the host, got a device's")
        self._arrays, self._count = tuple(given.values()), count
        self._axes = (self.batch_axis, axis, axis)
        self._batch_size, self._seed = batch_size, check.integer("seed", seed, least=0)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch, the last one perhaps smaller."""
        return math.ceil(self._count / self._batch_size)

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, counted from 0.

        Raises
        ------
        TypeError, ValueError
            If ``step`` is not an int of at least 0.
        """
        epoch, index = divmod(check.integer("step", step, least=0), self.steps_per_epoch)
        order = np.random.default_rng([self._seed, epoch]).permutation(self._count)
        chosen = order[index * self._batch_size : (index + 1) * self._batch_size]
        # int32: some devices have no 64-bit types, and no batch has that many sequences.
        first = self._arrays[0]
        xp = namespace_of(x=first)
        arrays = zip(self._arrays, self._axes, strict=False)  # perhaps without weights
        with device_context(first):
            picked = xp.asarray(chosen.astype(np.int32), device=device_of(first))
            batch = Batch(*(take(xp, a, picked, axis) for a, axis in arrays))
        return batch if self._lengths is None else batch._replace(lengths=self._lengths[chosen])

    def describe(self) -> dict[str, Any]:
        """Return kind, number of sequences, batch size and seed."""
        return {
            "kind": "shuffled",
            "sequences": self._count,
            "batch_size": self._batch_size,
            "seed": self._seed,
        }


@check.named_options
class Windows:
    """One long sequence, cut into lanes that run in parallel, a window at a time.

    Lane b holds the b-th part of the sequence, and each batch is the next window of all
    lanes; the state is carried from window to window, so only the gradient is truncated.
    The rest of a lane, shorter than a window, is not used.

    Parameters
    ----------
    x, targets : arrays, shape (S, ...)
    batch_size : int
        Number of lanes.
    window : int
        Steps in a window, through which the gradient flows.
    encode : callable, optional
        Makes the inputs (window, B, I) from a window of ``x``, shape (window, B, ...). A text can
        then be kept as labels, and each window made one-hot when it is needed.
    batch_axis : int
        1 for time-major windows. 0 with ``batch_first``: all of them, and what ``encode`` takes and
        returns, are then (B, window, ...). An attribute as well.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or the sequence is shorter than one window of every lane; the
        message names the argument.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.batches import Windows
    >>> source = Windows(np.arange(12), np.arange(12) + 1, batch_size=2, window=3)
    >>> source.batch(0).x.T
    array([[0, 1, 2],
           [6, 7, 8]])
    >>> source.batch(1).x.T, source.batch(1).fresh
    (array([[ 3,  4,  5],
           [ 9, 10, 11]]), False)
    """

    def __init__(
        self,
        x: Array,
        targets: Array,
        *,
        batch_size: int,
        window: int,
        encode: Callable[[Array], Array] | None = None,
        batch_axis: int = 1,
    ) -> None:
        self.batch_axis = check.integer("batch_axis", batch_axis, least=0, most=1)
        _check_arrays({"x": x, "targets": targets})
        if not x.ndim:
            raise ValueError("x: expected shape (S, ...), got ()")
        if targets.shape[:1] != x.shape[:1]:
            raise ValueError(
                f"targets: expected {x.shape[0]} steps like x, got shape {tuple(targets.shape)}"
            )
        batch_size = check.count("batch_size", batch_size)
        window = check.count("window", window)
        lane = x.shape[0] // batch_size
        if lane < window:
            raise ValueError(
                f"x: expected at least batch_size · window = {batch_size * window} steps, "
                f"got {x.shape[0]}"
            )
        if encode is not None and not isinstance(encode, type):  # such as numpy.float32
            check.function("encode", encode, "(window) -> inputs", "window")
        self._x, self._targets = (
            _lanes(array, batch_size, lane, self.batch_axis) for array in (x, targets)
        )
        self._window, self._batch_size, self._steps = window, batch_size, x.shape[0]
        self._encode = encode
        self.steps_per_epoch = lane // window

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, counted from 0.

        Raises
        ------
        TypeError, ValueError
            If ``step`` is not an int of at least 0, or what ``encode`` returns does not fit.
        """
        index = check.integer("step", step, least=0) % self.steps_per_epoch
        rows = slice(index * self._window, (index + 1) * self._window)
        where = (rows, ...) if self.batch_axis else (slice(None), rows, ...)
        x, targets = self._x[where], self._targets[where]
        return Batch(self._encoded(x), targets, fresh=index == 0)

    def _encoded(self, x: Array) -> Array:
        if self._encode is None:
            return x
        with device_context(x):
            found = self._encode(x)
        check_library_and_device("what encode returns", found, "x", x)
        if tuple(found.shape[:2]) != tuple(x.shape[:2]):
            raise ValueError(
                f"what encode returns: expected shape ({x.shape[0]}, {x.shape[1]}, I), "
                f"got {tuple(found.shape)}"
            )
        return found

    def describe(self) -> dict[str, Any]:
        """Return kind, length, batch size and window."""
        return {
            "kind": "windows",
            "steps": self._steps,
            "batch_size": self._batch_size,
            "window": self._window,
        }


def _check_arrays(arrays: Mapping[str, Array]) -> None:
    """Check that arrays hold numbers, and are of one library and on one device."""
    namespace_of(**arrays)
    for name, array in arrays.items():
        check_library_and_device(name, array, "x", arrays["x"])
        check.numeric(name, array)


def _lanes(array: Array, batch_size: int, lane: int, batch_axis: int) -> Array:
    """Reshape (S, ...) to (lane, batch_size, ...), or with ``batch_axis`` 0 the other way round."""
    xp = namespace_of(x=array)
    shape = (batch_size, lane, *array.shape[1:])
    with device_context(array):  # it may be copied
        array = xp.reshape(array[: batch_size * lane, ...], shape)
    return xp.permute_dims(array, (1, 0, *range(2, array.ndim))) if batch_axis else array
