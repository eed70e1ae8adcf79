"""Products of cuBLAS by pointers, since a function of CuPy takes several times as long to call.

Sums are of the accumulation dtype: half precision is summed in float32. TensorFloat-32 is used as
by CuPy's own products: where the environment variable ``CUPY_TF32`` is 1.
"""

from typing import Any

import cupy as cp
from cupy.cuda import device

from .._arrays.cublas import DEFAULT, NO, YES, functions, kind_of
from .._arrays.namespace import Array
from .._engine.affine import GPU_LEAF, GPU_ROOM, GPU_SUMS_OPEN

__all__ = ["product", "product_over_rows"]


def product(weight: Array, rows: int, *, transposed: bool) -> Any:
    """Return a function that multiplies rows by a matrix; it takes the pointers of both arrays.

    Parameters
    ----------
    weight : array (O, I)
        Contiguous; it must not be freed as long as the function is called.
    rows : int
    transposed : bool
        Whether the function computes ``y = x Wᵀ``, with x (rows, I), or ``y = x W``, with
        x (rows, O).

    Returns
    -------
    callable
        ``f(x, y)`` enqueues the product on the current stream.
    """
    kind, compute, factors = kind_of(weight.dtype.name)
    outputs, inputs = weight.shape
    given, found = (inputs, outputs) if transposed else (outputs, inputs)
    # cuBLAS has the columns of a matrix one after another: of a transposed one, the rows.
    head = (
        *(device.get_cublas_handle(), YES if transposed else NO, NO, found, rows, given),
        *(factors.one, weight.data.ptr, kind, inputs),
    )
    middle = (kind, given, factors.zero)
    tail = (kind, found, compute, DEFAULT)
    gemm = functions().gemmEx

    def multiply(x: int, y: int) -> None:
        gemm(*head, x, *middle, y, *tail)

    return multiply


def product_over_rows(d_y: Array, x: Array) -> Array:
    """Return ``d_yᵀ x``, (O, I), in the dtype of sums: the sum of products of ``GPU_LEAF`` rows.

    Several leaves are one call of cuBLAS, each with a sum of its own, to which those of later calls
    are added. In the end these are added up.

    Parameters
    ----------
    d_y : array (N, O)
        Contiguous.
    x : array (N, I)
        Contiguous.
    """
    (rows, inputs), outputs, leaf = x.shape, d_y.shape[1], GPU_LEAF
    wide = cp.float64 if x.dtype == cp.float64 else cp.float32
    size = outputs * inputs
    if not rows or not size:
        return cp.zeros((outputs, inputs), wide)
    most = max(1, min(GPU_SUMS_OPEN, GPU_ROOM // (size * wide().itemsize)))
    whole = rows // leaf
    count = min(most, max(1, whole))
    sums = cp.empty((count, outputs, inputs), wide)
    done = 0
    for start in range(0, whole, count):
        leaves = min(count, whole - start)
        _add_leaves(sums, d_y[done:], x[done:], (leaves, leaf), first=start == 0)
        done += leaves * leaf
    if done < rows:
        _add_leaves(sums, d_y[done:], x[done:], (1, rows - done), first=done == 0)
    return sums[0] if count == 1 else sums.sum(axis=0)


def _add_leaves(sums: Array, d_y: Array, x: Array, size: tuple[int, int], *, first: bool) -> None:
    """Add the products of so many leaves of so many rows to as many sums."""
    kind, compute, factors = kind_of(x.dtype.name)
    (leaves, rows), (_, outputs, inputs) = size, sums.shape
    functions().gemmStridedBatchedEx(
        *(device.get_cublas_handle(), NO, YES, inputs, outputs, rows, factors.one),
        *(x.data.ptr, kind, inputs, rows * inputs),
        *(d_y.data.ptr, kind, outputs, rows * outputs),
        factors.zero if first else factors.one,
        *(sums.data.ptr, kind_of(sums.dtype.name)[0], inputs, outputs * inputs),
        *(leaves, compute, DEFAULT),
    )
