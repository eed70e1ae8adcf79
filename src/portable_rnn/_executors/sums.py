"""Gradients of weights and biases, summed over the rows of a chunk by compiled loops."""

import ctypes
from functools import lru_cache

import numpy as np

from .buffers import Array, address, aligned, whole
from .llvm_cache import load
from .llvm_target import Target
from .tables import PANEL, PIECE, SUM_FIELDS, widest

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

    def add(self, d: Array, bias: Array | None, *products: tuple[Array, Array]) -> None:
        """Add the sums over all rows to gradients, which are arrays of one piece.

        Parameters
        ----------
        d : array (..., O)
        bias : array (O,), optional
            Is added the sum of ``d``.
        *products : tuple (W, x), at most 2
            To W (O, I), the product ``dᵀ x`` is added, of x (..., I).
        """
        d = whole(d, self.dtype)
        outputs = d.shape[-1]
        rows = d.size // outputs if outputs else 0
        of_x, of_sums = min(rows, PIECE) * self._columns, PANEL * self._columns
        of_d = min(rows, PIECE) * (outputs + -outputs % PANEL)
        room = aligned(self.dtype, of_x + of_sums + of_d)  # the first two are whole vectors
        start, size = address(room), self.dtype.itemsize
        rooms = (start + (of_x + of_sums) * size, start, start + of_x * size)
        bias = np.empty(outputs, self.dtype) if bias is None else bias
        values = [rows, outputs, address(d), address(bias), *rooms]
        held = []
        for weight, x in products:
            x = whole(x, self.dtype)
            held.append(x)
            values += [address(x), x.shape[-1], address(weight)]
        values += [0] * (len(SUM_FIELDS) - len(values))
        table = (ctypes.c_int64 * len(values))(*values)
        self._add(ctypes.addressof(table))


@lru_cache(maxsize=8)
def sums(dtype: str, target: Target) -> Sums:
    """Return the compiled sums; the first time, they are made or reloaded."""
    return Sums(dtype, target)
