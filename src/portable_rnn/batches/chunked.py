"""Independent sequences from arrays that are larger than memory, a chunk at a time."""

import math
from typing import Any

import numpy as np

from .._arrays import checks as check
from .._arrays.functions import take
from .._arrays.host import check_device, from_host
from .._arrays.namespace import Namespace, resolve_namespace
from .._arrays.scalars import as_array_remedy, type_name
from .._calls.valid_steps import read_lengths
from .batch import Batch, sequences_of

__all__ = ["Chunked"]

CHUNK = 8 * 2**20  # bytes of x that are read at a time, unless the array says otherwise
HELD = 2  # chunks: a batch may begin in one and end in the next


@check.named_options
class Chunked:
    """Independent sequences that stay where they are: in Zarr, HDF5, or a file mapped to memory.

    Each epoch reads chunks of neighbouring sequences in a new order, and shuffles those of a chunk.
    At most two chunks and a batch are in memory. As for `Shuffled`, a batch follows from its step
    and the seed.

    Parameters
    ----------
    x : array-like, shape (T, N, I) or of tokens (T, N), or with ``batch_axis=0`` N first
        Anything with a shape, a dtype and slices, such as a ``zarr.Array``, an ``h5py.Dataset``, a
        ``numpy.memmap`` or an ``xarray.DataArray``. With N first, each chunk is read from one
        place.
    targets : such an array, with the axes of N sequences and T steps; or (N,) or (N, O)
        As for `Shuffled`.
    batch_size : int
        The last batch of an epoch holds the remaining sequences.
    chunk : int, optional
        How many sequences to read at a time: the more, the better they are shuffled. By default a
        multiple of the array's own chunks, of about 8 MiB, and at least a batch.
    weights : such an array, shape (T, N) or (N, T), or (N,), optional
    lengths : sequence of N ints, or integer array on the host, optional
    seed : int
    batch_axis : int
        1 for time-major sequences, 0 with ``batch_first``. An attribute as well.
    xp : module, optional
        The library of the batches; NumPy by default.
    device : device of that library, optional

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.batches import Chunked
    >>> x, targets = np.zeros((1000, 5, 3), np.float32), np.zeros((1000, 5), np.int64)
    >>> source = Chunked(x, targets, batch_size=64, chunk=200, batch_axis=0)
    >>> source.steps_per_epoch, source.batch(3).x.shape
    (16, (64, 5, 3))
    """

    def __init__(
        self,
        x: Any,
        targets: Any,
        *,
        batch_size: int,
        chunk: int | None = None,
        weights: Any = None,
        lengths: Any = None,
        seed: int = 0,
        batch_axis: int = 1,
        xp: Namespace | None = None,
        device: Any = None,
    ) -> None:
        self.batch_axis = check.integer("batch_axis", batch_axis, least=0, most=1)
        given = {"x": x, "targets": targets} | ({} if weights is None else {"weights": weights})
        for name, array in given.items():
            _check_sliced(name, array)
        count, self._batch_size, self._axes = sequences_of(given, batch_size, self.batch_axis)
        self._lengths: np.ndarray[Any, Any] | None = None
        if lengths is not None:
            self._lengths = read_lengths(lengths, x.shape[1 - self.batch_axis], count)
            if self._lengths is None:
                raise TypeError("lengths: expected a list or an array on the host, got a device's")
        self._arrays, self._names, self._count = tuple(given.values()), tuple(given), count
        self._seed = check.integer("seed", seed, least=0)
        self._xp = None if xp is None else resolve_namespace(xp)
        if self._xp is not None:
            check_device(self._xp, device)
        elif device is not None:
            raise ValueError(f"device: expected xp, the library of batches, too, got {device!r}")
        self._device = device
        one, *_ = self._read(0, 1)  # names what is no array of numbers before any work
        if chunk is None:
            chunk = max(self._batch_size, _chunk_of(x, self.batch_axis, one.nbytes))
        self._chunk = min(check.count("chunk", chunk), count)
        self._held: tuple[tuple[int, list[np.ndarray[Any, Any]]], ...] = ()

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
        start = index * self._batch_size
        end = min(start + self._batch_size, self._count)
        chunks = -(-self._count // self._chunk)
        order = np.random.default_rng([self._seed, epoch]).permutation(chunks)
        sizes = np.minimum(self._chunk, self._count - order * self._chunk)
        ends = np.cumsum(sizes)
        parts: list[list[np.ndarray[Any, Any]]] = []
        chosen: list[np.ndarray[Any, Any]] = []
        while start < end:
            place = int(np.searchsorted(ends, start, side="right"))
            number, before = int(order[place]), int(ends[place] - sizes[place])
            until = min(end, int(ends[place]))
            inside = np.random.default_rng([self._seed, epoch, number]).permutation(sizes[place])
            rows = inside[start - before : until - before]
            held = self._chunk_at(number)
            parts.append([take(np, a, rows, x) for a, x in zip(held, self._axes, strict=False)])
            chosen.append(rows + number * self._chunk)
            start = until
        joined = [
            from_host(np.concatenate(some, axis=axis), self._xp, device=self._device)
            for some, axis in zip(zip(*parts, strict=True), self._axes, strict=False)
        ]
        batch = Batch(*joined)
        if self._lengths is None:
            return batch
        return batch._replace(lengths=self._lengths[np.concatenate(chosen)])

    def describe(self) -> dict[str, Any]:
        """Return kind, number of sequences, sizes of batches and chunks, and seed."""
        return {
            "kind": "chunked",
            "sequences": self._count,
            "batch_size": self._batch_size,
            "chunk": self._chunk,
            "seed": self._seed,
        }

    def _chunk_at(self, number: int) -> list[np.ndarray[Any, Any]]:
        """Return the arrays of a chunk: one of the last that were read, or read now."""
        for one, arrays in self._held:
            if one == number:
                return arrays
        self._held = self._held[1 - HELD :] if len(self._held) == HELD else self._held
        start = number * self._chunk
        arrays = self._read(start, min(start + self._chunk, self._count))
        self._held = (*self._held, (number, arrays))
        return arrays

    def _read(self, start: int, end: int) -> list[np.ndarray[Any, Any]]:
        """Read neighbouring sequences of all arrays."""
        found = []
        for name, array, axis in zip(self._names, self._arrays, self._axes, strict=False):
            where = [slice(None)] * len(array.shape)
            where[axis] = slice(start, end)
            part = array[tuple(where)]
            if isinstance(part, np.ma.MaskedArray):
                raise TypeError(f"{name}: expected an array without a mask: fill it first")
            read = np.asarray(part)
            if read.dtype.kind not in "biufc":
                raise TypeError(f"{name}: expected an array of numbers, got dtype {read.dtype}")
            found.append(read)
        return found


def _check_sliced(name: str, array: Any) -> None:
    """Check that something has a shape and a dtype, and can be sliced by position.

    Columns of frames are sliced by their labels; arrays of xarray, which have ``dims``, are not.
    """
    shape = getattr(array, "shape", None)
    sliced = hasattr(array, "dtype") and hasattr(array, "__getitem__") and isinstance(shape, tuple)
    column = hasattr(array, "to_numpy") and not hasattr(array, "dims")
    if isinstance(array, type) or not sliced or column:
        remedy = as_array_remedy(name, array)
        got = f"{type_name(array)}{remedy}" if remedy else check.said(array)
        raise TypeError(f"{name}: expected an array with a shape, a dtype and slices, got {got}")
    if not all(isinstance(size, int) for size in array.shape):
        raise TypeError(f"{name}: expected a shape of known sizes, got {shape}")


def _chunk_of(x: Any, axis: int, size: int) -> int:
    """Return how many sequences, each of so many bytes, to read at a time."""
    own: Any = getattr(x, "chunks", None)
    least = own[axis] if isinstance(own, tuple) and len(own) > axis else 1
    least = least if isinstance(least, int) and least > 0 else 1
    several: int = max(1, CHUNK // (least * size))
    return least * several
