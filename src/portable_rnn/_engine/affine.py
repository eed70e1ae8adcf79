"""The affine map ``y = x Wᵀ + b`` and its cotangents: every matrix product of the library.

Each product is flattened to two dimensions first. For a whole chunk of time that makes
one large GEMM of T·B rows, and some GPU libraries are slow or wrong on three dimensions.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from .._arrays.devices import is_captured
from .._arrays.functions import copied, reshape, sum_over, to_accumulation_dtype
from .._arrays.namespace import PLAIN, Array, Namespace, is_cupy_array
from .embedding import one_hot_sums, sums_by_token

__all__ = [
    "AT_ONCE",
    "GPU_LEAF",
    "GPU_ROOM",
    "GPU_SUMS",
    "GPU_SUMS_OPEN",
    "LEAF",
    "SUMS",
    "Linear",
    "Products",
    "affine_vjp_bias",
    "affine_vjp_weight",
]

# Rows that one product sums. More are faster but less accurate: with 64, a call of bptt took 0.94
# to 1 of the time, and over 64 steps the error of a GRU's gradients was 1.01 times that of
# jax.grad, against 0.88 times now; with 128, the error was larger for all cells.
LEAF = 32
# On a GPU a product of few rows takes as long as one of many. With 8192, the gradients of a GRU
# over 600 steps were 17 eps from the exact ones, where products add rows one after another.
GPU_LEAF = 512
# Sums of products that are open at a time, and bytes of all of them; see _executors/cublas.py.
GPU_SUMS_OPEN, GPU_ROOM = 64, 2**26
FEW = 8  # rows that are added one after another


def affine_vjp_weight(xp: Namespace, x: Array, d_y: Array, leaf: int | None = None) -> Array:
    """Return the cotangent of ``weight``: ``d_yᵀ x`` summed over all rows, shape (O, I).

    Over (T, B, ...), time is halved until a product has ``leaf`` rows, by default ``LEAF``:
    rounding errors then grow with the logarithm of T (Higham 2002, section 4.2). Half-precision
    sums are float32.
    """
    steps = d_y.shape[0]
    if d_y.ndim == 3 and steps > 1 and steps * d_y.shape[1] > (leaf or LEAF):
        half = steps // 2
        total = affine_vjp_weight(xp, x[:half, ...], d_y[:half, ...], leaf)
        total += affine_vjp_weight(xp, x[half:, ...], d_y[half:, ...], leaf)
        return total
    product = matmul(xp, _rows(xp, d_y).T, _rows(xp, x))
    return to_accumulation_dtype(xp, product)


def gpu_weight_sum(xp: Namespace, x: Array, d_y: Array) -> Array:
    """Return `affine_vjp_weight` by fewer products, of more rows."""
    return affine_vjp_weight(xp, x, d_y, GPU_LEAF)


def affine_vjp_bias(xp: Namespace, bias: Array | None, d_y: Array) -> Array | None:
    """Return the cotangent of ``bias``: ``d_y`` summed over all rows, shape (O,).

    Rows are added by halves, as for a weight. Half-precision sums are float32.
    """
    if bias is None:
        return None
    d_y = to_accumulation_dtype(xp, _rows(xp, d_y))
    if d_y.shape[0] == 1:
        return copied(xp, d_y[0, ...])
    while d_y.shape[0] > FEW:
        half = d_y.shape[0] // 2
        folded = d_y[:half, ...] + d_y[half : 2 * half, ...]
        d_y = folded if 2 * half == d_y.shape[0] else xp.concat([folded, d_y[2 * half :, ...]])
    return sum_over(xp, d_y, axis=0)


def product_over_rows(xp: Namespace, x: Array, d_y: Array) -> Array:
    """Return `affine_vjp_weight` as one product; the library chooses how to sum."""
    return affine_vjp_weight(xp, _rows(xp, x), _rows(xp, d_y))  # rows, without time to halve


def sum_of_rows(xp: Namespace, bias: Array | None, d_y: Array) -> Array | None:
    """Return `affine_vjp_bias` as one sum; the library chooses how to sum."""
    return None if bias is None else sum_over(xp, to_accumulation_dtype(xp, _rows(xp, d_y)), axis=0)


def concat(xp: Namespace, one: Array, other: Array) -> Array:
    """Return the cotangent of a weight from those of its left and right halves."""
    return xp.concat([one, other], axis=1)


class Products(NamedTuple):
    """How the factors of a gradient are combined; by default, products are summed over all rows.

    Results are new objects that support ``+=``: those of different chunks are added in place.
    """

    weight: Callable[[Namespace, Array, Array], Any] = affine_vjp_weight
    bias: Callable[[Namespace, Array | None, Array], Any] = affine_vjp_bias
    concat: Callable[[Namespace, Any, Any], Any] = concat
    tokens: Callable[[Namespace, Array, Array, int], Any] = sums_by_token


SUMS = Products()
# A GPU adds numbers by halves itself.
GPU_SUMS = Products(weight=gpu_weight_sum, bias=sum_of_rows)
# For compilers that see whole sums.
AT_ONCE = Products(weight=product_over_rows, bias=sum_of_rows, tokens=one_hot_sums)


class Linear(NamedTuple):
    """One product, ``y = x Wᵀ + b``, optionally of a scaled ``x``; or the cotangents of W and b."""

    weight: Array  # W, (O, I)
    bias: Array | None = None  # b, (1, O)
    scale: Array | None = None  # (B, I); factors of x, the same at all steps
    transposed: Array | None = None  # Wᵀ, (I, O), as a separate array, if that is faster

    def __call__(self, xp: Namespace, x: Array) -> Array:
        """Return ``y`` (..., O) for ``x`` (..., I)."""
        weight_t = self.weight.T if self.transposed is None else self.transposed
        y = matmul(xp, _rows(xp, self.scaled(x)), weight_t)
        if self.bias is not None:
            y = y + self.bias
        return y if x.ndim == 2 else reshape(xp, y, (*x.shape[:-1], y.shape[1]))

    def vjp_x(self, xp: Namespace, d_y: Array) -> Array:
        """Return the cotangent of ``x``: ``d_y W``, shape (..., I)."""
        d_x = matmul(xp, _rows(xp, d_y), self.weight)
        if d_y.ndim != 2:
            d_x = reshape(xp, d_x, (*d_y.shape[:-1], d_x.shape[1]))
        return self.scaled(d_x)

    def vjp_parameters(self, xp: Namespace, x: Array, d_y: Array, products: Products) -> "Linear":
        """Return the cotangents of W and b, from all steps."""
        d_b = products.bias(xp, self.bias, d_y)
        return Linear(self.vjp_weight(xp, x, d_y, products), d_b)

    def vjp_weight(self, xp: Namespace, x: Array, d_y: Array, products: Products) -> Any:
        """Return the cotangent of W only."""
        return products.weight(xp, self.scaled(x), d_y)

    def rows(self, part: slice) -> "Linear":
        """Return the map to a part of ``y``."""
        bias = None if self.bias is None else self.bias[..., part]
        transposed = None if self.transposed is None else self.transposed[:, part]
        return Linear(self.weight[part, :], bias, self.scale, transposed)

    def scaled(self, x: Array) -> Array:
        """Return ``x`` times ``scale``, if there is one."""
        if self.scale is None:
            return x
        return x * (self.scale if x.ndim == 2 else self.scale[None, ...])


def matmul(xp: Namespace, a: Array, b: Array) -> Array:
    """Return a matrix product; for NumPy arrays by the operator, which costs less than a call."""
    if PLAIN.get(type(a)) is xp:
        return a @ b
    try:
        return xp.matmul(a, b)
    except NotImplementedError:  # CuPy's, of products while its stream is captured
        if not (is_cupy_array(a) and is_captured()):
            raise
    from .._arrays.cublas import product

    return product(a, b)


def _rows(xp: Namespace, x: Array) -> Array:
    if x.ndim == 2:
        return x
    if PLAIN.get(type(x)) is xp:
        return x.reshape(-1, x.shape[-1])
    return xp.reshape(x, (-1, x.shape[-1]))
