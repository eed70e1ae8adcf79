"""Gradients of weights and biases, summed over the rows of a chunk by compiled loops."""

import ctypes
from functools import lru_cache, partial

import numpy as np

from .buffers import Array, address, aligned, whole
from .llvm_cache import load
from .llvm_target import Target
from .tables import PANEL, PIECE, SUM_FIELDS, widest
from .workers import evenly, run_together

__all__ = ["Sums", "sums"]


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

        def write() -> str:
            from . import llvm_sums

            return llvm_sums.write(dtype, target)

        code, _ = load(f"sums {dtype}", target, write)
        self._add = code.function("add", ctypes.c_void_p)

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
            Each sums some columns of ``d``, which changes no bit.
        """
        d, outputs = whole(d, self.dtype), d.shape[-1]
        rows = d.size // outputs if outputs else 0
        bias = np.empty(outputs, self.dtype) if bias is None else bias
        pairs = [(weight, whole(x, self.dtype)) for weight, x in products]
        add = partial(self._add_columns, rows, d, bias, pairs)
        run_together([partial(add, part) for part in evenly(outputs, threads, PANEL)])

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
        room = aligned(self.dtype, of_x + of_sums + of_d)  # the first two are whole vectors
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


@lru_cache(maxsize=8)
def sums(dtype: str, target: Target) -> Sums:
    """Return the compiled sums; the first time, they are made or reloaded."""
    return Sums(dtype, target)
