"""The products of cuBLAS that CuPy has loaded, also while a stream is captured in a CUDA graph.

CuPy refuses each call of cuBLAS then, which cuBLAS itself allows. So the same library is called
without CuPy in between, with CuPy's handle, for the stream that is captured and with a workspace of
its own: that of the handle is used by ordinary calls, at the same time as a graph that was launched
(NVIDIA, cuBLAS, "CUDA Graphs Support"). Outside of a capture all calls are CuPy's.
"""

import ctypes
import os
import sys
from functools import lru_cache
from typing import Any

import cupy as cp
from cupy.cuda import device

from .devices import is_captured
from .namespace import Array

__all__ = ["DEFAULT", "NO", "YES", "functions", "kind_of", "product"]

NO, YES = 0, 1  # whether a factor is transposed
DEFAULT = -1  # the algorithm
# Numbers of the types of cuBLAS.
TYPES = {
    **{"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14},
    **{"complex64": 4, "complex128": 5},
}
COMPUTE_32, COMPUTE_64, COMPUTE_TF32 = 68, 70, 77
# Bytes of a workspace, as NVIDIA recommends: from compute capability 9.0, and before.
WORKSPACE, EARLIER_WORKSPACE = 32 << 20, 4 << 20


class _Factors:
    """1 and 0 where cuBLAS reads them, in the dtype of sums; for a complex one with a second 0."""

    def __init__(self, kind: Any) -> None:
        self.numbers = (kind * 3)(1.0, 0.0, 0.0)
        self.one = ctypes.addressof(self.numbers)
        self.zero = self.one + ctypes.sizeof(kind)


FLOAT, DOUBLE = _Factors(ctypes.c_float), _Factors(ctypes.c_double)


@lru_cache(maxsize=8)
def kind_of(dtype: str) -> tuple[int, int, _Factors]:
    """Return the type of arrays, the type of sums, and the factors."""
    if dtype in ("float64", "complex128"):
        return TYPES[dtype], COMPUTE_64, DOUBLE
    tf32 = dtype in ("float32", "complex64") and os.environ.get("CUPY_TF32") == "1"
    return TYPES[dtype], COMPUTE_TF32 if tf32 else COMPUTE_32, FLOAT


def functions() -> Any:
    """Return what has the functions of cuBLAS, for the current stream: CuPy's, or `_Captured`."""
    return _Captured() if is_captured() else cp.cuda.cublas


class _Captured:
    """Functions of cuBLAS by the names and arguments of CuPy's, for a stream that is captured.

    The workspace is a temporary array of the capture like any other: what the stream does later may
    be given the same memory.
    """

    def __init__(self) -> None:
        self._stream = cp.cuda.get_current_stream().ptr
        latest = int(device.get_compute_capability()) >= 90
        self._workspace = cp.empty(WORKSPACE if latest else EARLIER_WORKSPACE, cp.uint8)

    def gemmEx(self, *arguments: int) -> None:  # noqa: N802 (CuPy's name)
        self._call("cublasGemmEx", arguments)

    def gemmStridedBatchedEx(self, *arguments: int) -> None:  # noqa: N802
        self._call("cublasGemmStridedBatchedEx", arguments)

    def _call(self, name: str, arguments: tuple[int, ...]) -> None:
        handle, workspace = arguments[0], self._workspace
        # In this order: to set the stream takes the workspace away.
        _run("cublasSetStream_v2", handle, self._stream)
        _run("cublasSetWorkspace_v2", handle, workspace.data.ptr, workspace.nbytes)
        _run(name, *arguments)


# i: int, p: a pointer or handle, l: long long, z: size_t
SIGNATURES = {
    "cublasSetStream_v2": "pp",
    "cublasSetWorkspace_v2": "ppz",
    "cublasGemmEx": "piiiiippiipiippiiii",
    "cublasGemmStridedBatchedEx": "piiiiippiilpiilppiiliii",
}
C_TYPES = {"i": ctypes.c_int, "p": ctypes.c_void_p, "l": ctypes.c_longlong, "z": ctypes.c_size_t}


def _run(name: str, *arguments: int) -> None:
    if status := _function(name)(*arguments):
        raise RuntimeError(f"cuBLAS: {name} returned status {status} in a capture")


@lru_cache(maxsize=len(SIGNATURES))
def _function(name: str) -> Any:
    """Return a function of the library that CuPy has loaded."""
    if sys.platform == "win32":
        major = cp.cuda.runtime.runtimeGetVersion() // 1000
        library = ctypes.CDLL(f"cublas64_{major}.dll")
    else:  # what is looked up in CuPy's module is found in the libraries that it is linked with
        library = ctypes.CDLL(cp.cuda.cublas.__file__)
    found = getattr(library, name)
    found.argtypes = [C_TYPES[letter] for letter in SIGNATURES[name]]
    return found


def product(a: Array, b: Array) -> Array:
    """Return the matrix product of arrays (M, K) and (K, N) of one dtype, as CuPy computes it."""
    kind, compute, factors = kind_of(a.dtype.name)
    (rows, inner), columns = a.shape, b.shape[1]
    found = cp.empty((rows, columns), a.dtype)
    # cuBLAS has the columns of a matrix one after another: there it is foundᵀ = bᵀ aᵀ.
    (a, turn_a, step_a), (b, turn_b, step_b) = map(_factor, (a, b))
    functions().gemmEx(
        *(device.get_cublas_handle(), turn_b, turn_a, columns, rows, inner, factors.one),
        *(b.data.ptr, kind, step_b, a.data.ptr, kind, step_a, factors.zero),
        *(found.data.ptr, kind, columns, compute, DEFAULT),
    )
    return found


def _factor(array: Array) -> tuple[Array, int, int]:
    """Return an array that cuBLAS can read, whether it is to be transposed, and its stride."""
    if array.flags.f_contiguous and not array.flags.c_contiguous:
        return array, YES, array.shape[0]
    return cp.ascontiguousarray(array), NO, array.shape[1]
