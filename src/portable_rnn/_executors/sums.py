"""Gradients of weights and biases, summed over the rows of a chunk by compiled loops."""

import ctypes
import threading
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np

from .buffers import Array, address, aligned, whole
from .llvm_cache import load
from .llvm_target import Target
from .tables import PANEL, PIECE, SUM_FIELDS, widest
from .workers import evenly, run_together, useful_threads

__all__ = ["Sums", "sums"]

KEPT = 2**22  # bytes


class Sums:
    """``W += dᵀ x`` and ``b += Σ d`` over rows, for one dtype and one kind of processor.

    Parameters
    ----------
    dtype : {"float32", "float64"}
    target : Target
    """

    def __init__(self, dtype: str, target: Target) -> None:
        self.dtype, self._lanes = np.dtype(dtype), target.lanes(dtype)
        self._columns = widest(target.accumulators) * self._lanes
        self._rooms = threading.local()

        def write() -> str:
            from . import llvm_sums

            return llvm_sums.write(dtype, target)

        def write_tokens() -> str:
            from . import llvm_tokens

            return llvm_tokens.write(dtype, target)

        code, _ = load(f"sums {dtype}", target, write)
        self._add = code.function("add", ctypes.c_void_p)
        self._tokens = partial(load, f"tokens {dtype}", target, write_tokens)

    def add(
        self, d: Array, bias: Array | None, *products: tuple[Array, Array], threads: int = 1
    ) -> None:
        """Add the sums over all rows to gradients, which are arrays of one piece.

        Parameters
        ----------
        d : array (..., O)
        bias : array (O,), optional
            Is added the sum of ``d``.
        *products : tuple (W, x), at most 2
            To W (O, I), the product ``dᵀ x`` is added, of x (..., I).
        threads : int
            At most so many, each of which sums some columns of ``d``, which changes no bit.
        """
        d, outputs = whole(d, self.dtype), d.shape[-1]
        rows = d.size // outputs if outputs else 0
        bias = np.empty(outputs, self.dtype) if bias is None else bias
        pairs = [(weight, whole(x, self.dtype)) for weight, x in products]
        add = partial(self._add_columns, rows, d, bias, pairs)
        if threads == 1:
            add((0, outputs))
            return
        parts = useful_threads(threads, d.size * sum(x.shape[-1] for _, x in pairs))
        run_together([partial(add, part) for part in evenly(outputs, parts, PANEL)])

    def by_token(self, tokens: Array, d: Array, count: int) -> Array:
        """Return the sum of the rows of each token.

        Parameters
        ----------
        tokens : integer array (...), from 0 to ``count`` - 1
        d : array (..., I)
        count : int

        Returns
        -------
        array (count, I)
        """
        d, size = whole(d, self.dtype), d.shape[-1]
        tokens = tokens.reshape(-1).astype(np.uint16 if count <= 2**16 else np.int64, copy=False)
        order = np.argsort(tokens, kind="stable").astype(np.int64, copy=False)
        ends = np.zeros(count + 1, np.int64)
        np.cumsum(np.bincount(tokens, minlength=count), out=ends[1:])
        sums = np.empty((count, size), self.dtype)
        values = (count, size, address(order), address(ends), address(d), address(sums))
        table = (ctypes.c_int64 * len(values))(*values)
        self._add_tokens(ctypes.addressof(table))
        return sums

    @cached_property
    def _add_tokens(self) -> Any:
        """The compiled function, made or reloaded when a network first has an embedding."""
        self._code_of_tokens, _ = self._tokens()
        return self._code_of_tokens.function("add", ctypes.c_void_p)

    def _add_columns(
        self,
        rows: int,
        d: Array,
        bias: Array,
        pairs: list[tuple[Array, Array]],
        columns: tuple[int, int],
    ) -> None:
        """Add the sums of some columns of ``d``."""
        first, end = columns
        outputs, size = end - first, self.dtype.itemsize
        of_x, of_sums = min(rows, PIECE) * self._columns, PANEL * self._columns
        of_d = min(rows, PIECE) * (outputs + -outputs % PANEL)
        room = self._room(of_x + of_sums + of_d)  # the first two are whole vectors
        start = address(room)
        rooms = (start + (of_x + of_sums) * size, start, start + of_x * size)
        given = (address(d) + first * size, d.shape[-1], address(bias) + first * size)
        values = [rows, outputs, *given, *rooms]
        for weight, x in pairs:
            inputs = x.shape[-1]
            values += [address(x), inputs, address(weight) + first * inputs * size]
        values += [0] * (len(SUM_FIELDS) - len(values))
        table = (ctypes.c_int64 * len(values))(*values)
        self._add(ctypes.addressof(table))

    def _room(self, size: int) -> Array:
        """Return room for numbers, one for each thread.

        It stays unless it is large: two threads that take and return memory all the time make each
        other wait, for longer than they need for the sums.
        """
        room = getattr(self._rooms, "room", None)
        if room is None or room.shape[0] < size:
            room = aligned(self.dtype, size)
            if room.nbytes <= KEPT:
                self._rooms.room = room
        return room


@lru_cache(maxsize=8)
def sums(dtype: str, target: Target) -> Sums:
    """Return the compiled sums; the first time, they are made or reloaded."""
    return Sums(dtype, target)
