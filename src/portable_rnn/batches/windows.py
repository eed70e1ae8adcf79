"""One long sequence, a window at a time."""

from collections.abc import Callable
from typing import Any

from .._arrays import checks as check
from .._arrays.devices import device_context
from .._arrays.namespace import Array, check_library_and_device, namespace_of
from .batch import Batch, check_arrays

__all__ = ["Windows"]


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
        check_arrays({"x": x, "targets": targets})
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


def _lanes(array: Array, batch_size: int, lane: int, batch_axis: int) -> Array:
    """Reshape (S, ...) to (lane, batch_size, ...), or with ``batch_axis`` 0 the other way round."""
    xp = namespace_of(x=array)
    shape = (batch_size, lane, *array.shape[1:])
    with device_context(array):  # it may be copied
        array = xp.reshape(array[: batch_size * lane, ...], shape)
    return xp.permute_dims(array, (1, 0, *range(2, array.ndim))) if batch_axis else array
