"""The compiled loops of one cell, for one dtype and one kind of processor."""

import ctypes
import logging
from functools import lru_cache
from typing import Any

import numpy as np

from .buffers import Array, address, aligned
from .llvm_cache import Code, load
from .llvm_target import Target, host
from .program import Program
from .sums import sums
from .tables import backward_fields, forward_fields
from .trace import trace

__all__ = ["Kernel", "kernel", "of_program"]

logger = logging.getLogger("portable_rnn")


class Kernel:
    """The compiled loops of one cell, for one dtype and one kind of processor.

    Parameters
    ----------
    program : Program
    dtype : {"float32", "float64"}
    target : Target
    scaled : bool
        Whether there are factors of what the recurrent weights multiply.

    Attributes
    ----------
    reloaded : bool
        Whether the code was found in the cache.
    """

    def __init__(self, program: Program, dtype: str, target: Target, *, scaled: bool) -> None:
        self.program, self.target, self.scaled = program, target, scaled
        self.dtype = np.dtype(dtype)
        self.lanes, self.vector = target.lanes(dtype), target.bits // 8

        def write() -> str:
            logger.info("compiling the time loop of a cell, which takes a second or two, once")
            from . import llvm_loop  # llvmlite.ir with it, which loading does without

            return llvm_loop.write(program, dtype, target, scaled=scaled)

        subject = f"{dtype} scaled={scaled}\n{program.text}"
        self._code: Code
        self._code, self.reloaded = load(subject, target, write)
        pointer, integer = ctypes.c_void_p, ctypes.c_int64
        self.forward = self._code.function("forward", pointer)
        self.backward = self._code.function("backward", pointer)
        sizes = (pointer, pointer, integer, integer)
        self._pack_forward = self._code.function("pack_forward", *sizes)
        self._pack_backward = self._code.function("pack_backward", *sizes)
        self.sums = sums(dtype, target)
        self.forward_fields = forward_fields(program, scaled=scaled)
        self.backward_fields = backward_fields(program, scaled=scaled)

    def packed(self, weight: Array, *, back: bool) -> Array:
        """Return recurrent weights (G·H, H) as the loop forward, or back, reads them."""
        rows, units = weight.shape
        blocks = -(-units // self.lanes)
        gates = 1 if back else self.program.gates
        out = self.aligned(blocks * self.lanes * gates * (rows if back else units))
        pack = self._pack_backward if back else self._pack_forward
        pack(address(out), address(weight), units, rows if back else units)
        return out

    def aligned(self, size: int) -> Array:
        """Return room for numbers."""
        return aligned(self.dtype, size)


def kernel(
    cell: Any,
    dtype: str,
    *,
    held: str = "",
    scaled: bool = False,
    target: Target | None = None,
) -> Kernel:
    """Return the compiled loops of a cell; the first time, they are made or reloaded.

    Parameters
    ----------
    cell : Cell
    dtype : {"float32", "float64"}
    held : {"", "choose", "mix"}
        Whether there are updates, of booleans or of numbers.
    scaled : bool
        Whether there are factors of what the recurrent weights multiply.
    target : Target, optional
        This processor by default.

    Raises
    ------
    NotPointwise
        If the cell cannot be compiled.
    Unavailable
        If nothing can.
    ValueError
        If there is no code for the dtype.
    """
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype: expected float32 or float64, got {dtype}")
    return of_program(trace(cell, held), dtype, target or host(), scaled)


@lru_cache(maxsize=64)
def of_program(program: Program, dtype: str, target: Target, scaled: bool) -> Kernel:
    """Return the compiled loops of a program; the first time, they are made or reloaded."""
    return Kernel(program, dtype, target, scaled=scaled)
