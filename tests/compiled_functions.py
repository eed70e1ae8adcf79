"""Single functions of the compiled loops, on whole arrays."""

import ctypes

import llvmlite.ir as ir
import numpy as np

from portable_rnn._executors.llvm_cache import load
from portable_rnn._executors.llvm_function import Function
from portable_rnn._executors.llvm_math import FUNCTIONS, I64, POINTER, Vectors
from portable_rnn._executors.llvm_target import host


def compiled_function(name, dtype, bits=None):
    """Return an operation of one argument as a compiled function of an array."""
    target = host(bits)
    lanes = target.lanes(dtype)

    def write():
        vectors = Vectors(ir.Module(name), dtype, lanes)
        f = Function(vectors, "each", [POINTER, POINTER, I64], public=True)
        out, x, count = f.function.args
        with f.loop(count, lanes) as loop:
            f.store(FUNCTIONS[name](vectors, f.load(x, loop.at)), out, loop.at)
        f.builder.ret_void()
        return str(vectors.module)

    code, _ = load(f"each {name} {dtype}", target, write)
    each = code.function("each", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)

    def run(x):
        padded = np.zeros(-(-x.size // lanes) * lanes, dtype)
        padded[: x.size] = x.reshape(-1)
        out = np.empty_like(padded)
        each(out.ctypes.data, padded.ctypes.data, padded.size)
        return out[: x.size].reshape(x.shape)

    return run
