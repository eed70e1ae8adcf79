"""The affine map ``y = x Wᵀ + b`` and its cotangents: every matrix product of the library.

Each product is flattened to two dimensions first. For a whole stretch of time that makes
one large GEMM of T·B rows, and some GPU libraries are slow or wrong on three dimensions.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from ._namespace import Array, Namespace, row, sum_over, to_accumulation_dtype, whole_sequence

__all__ = ["SUMS", "Products", "affine", "affine_vjp_bias", "affine_vjp_weight", "affine_vjp_x"]

LEAF = 32  # rows that one product adds up
FEW = 8  # rows that are added one after another


def affine(xp: Namespace, x: Array, weight: Array, bias: Array | None = None) -> Array:
    """Return ``x weightᵀ + bias`` over the last axis.

    Parameters
    ----------
    x : array, shape (..., I)
    weight : array, shape (O, I)
    bias : array, shape (O,), optional
        Or with as many axes as ``x``, of size 1 before the last.

    Returns
    -------
    array, shape (..., O)
    """
    y = _matmul(xp, x, weight.T)
    if bias is not None and bias.ndim != y.ndim:
        bias = row(xp, bias, y.ndim)
    return y if bias is None else y + bias


def affine_vjp_x(xp: Namespace, weight: Array, d_y: Array) -> Array:
    """Return the cotangent of ``x``: ``d_y weight``, shape (..., I)."""
    return _matmul(xp, d_y, weight)


def affine_vjp_weight(xp: Namespace, x: Array, d_y: Array) -> Array:
    """Return the cotangent of ``weight``: ``d_yᵀ x`` summed over all rows, shape (O, I).

    Over (T, B, ...), time is halved until a product has few rows: rounding then grows with the
    logarithm of T (Higham 2002, section 4.2). Where the library sees the whole computation,
    how to sum is left to it. Sums of half precision are float32.
    """
    steps, rows = d_y.shape[0], LEAF
    if d_y.ndim == 3 and steps > 1 and steps * d_y.shape[1] > rows and not whole_sequence(xp):
        half = steps // 2
        total = affine_vjp_weight(xp, x[:half, ...], d_y[:half, ...])
        total += affine_vjp_weight(xp, x[half:, ...], d_y[half:, ...])
        return total
    product = xp.matmul(_rows(xp, d_y).T, _rows(xp, x))
    return to_accumulation_dtype(xp, product)


def affine_vjp_bias(xp: Namespace, bias: Array | None, d_y: Array) -> Array | None:
    """Return the cotangent of ``bias``: ``d_y`` summed over all rows, shape (O,).

    Rows are added by halves, as those of a weight are. Sums of half precision are float32.
    """
    if bias is None:
        return None
    d_y = to_accumulation_dtype(xp, _rows(xp, d_y))
    while d_y.shape[0] > FEW and not whole_sequence(xp):
        half = d_y.shape[0] // 2
        folded = d_y[:half, ...] + d_y[half : 2 * half, ...]
        d_y = folded if 2 * half == d_y.shape[0] else xp.concat([folded, d_y[2 * half :, ...]])
    return sum_over(xp, d_y, axis=0)


def beside(xp: Namespace, one: Array, other: Array) -> Array:
    """Return the cotangent of a weight from those of its left and right halves."""
    return xp.concat([one, other], axis=1)


class Products(NamedTuple):
    """What becomes of the factors of a gradient; by default, its sum over all rows.

    Results are new objects with ``+=``: those of different stretches of time are added in place.
    """

    weight: Callable[[Namespace, Array, Array], Any] = affine_vjp_weight
    bias: Callable[[Namespace, Array | None, Array], Any] = affine_vjp_bias
    beside: Callable[[Namespace, Any, Any], Any] = beside


SUMS = Products()


def _matmul(xp: Namespace, x: Array, matrix: Array) -> Array:
    y = xp.matmul(_rows(xp, x), matrix)
    return y if x.ndim == 2 else xp.reshape(y, (*x.shape[:-1], matrix.shape[-1]))


def _rows(xp: Namespace, x: Array) -> Array:
    return x if x.ndim == 2 else xp.reshape(x, (-1, x.shape[-1]))
