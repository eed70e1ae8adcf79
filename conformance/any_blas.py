"""A matrix product that stands in for every BLAS: its rounding depends on the shapes.

How a BLAS library rounds depends on the processor, on the number of threads, and on the shape of
a product: the same row may have different last digits among 24 rows and among 23. A test that
relies on more than "the same product twice has the same bits" passes until it runs on another
machine. Here one number in eight is off by one eps, up or down; which ones depends on the shape.
Results that have equal bits with this product do not rely on how a product of one shape rounds.

It is a row of the suite, and a plugin for the tests of NumPy alone::

    python -m pytest -p conformance.any_blas tests
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from zlib import crc32

import array_api_compat.numpy
import numpy as np

from portable_rnn._engine import affine

__all__ = ["in_place_of_numpys", "matmul", "pytest_configure"]

SIZE = 2**20  # length of the pattern; each shape uses a different part of it


def matmul(a: Any, b: Any, /, out: Any = None) -> Any:
    """Return ``a @ b``, one number in eight multiplied by 1 - eps or 1 + eps."""
    product = np.matmul(a, b, out=out)
    if product.dtype.kind not in "fc":
        return product
    factors, flat = pattern(product.real.dtype.name), product.reshape(-1)
    start = crc32(repr((a.shape, layout(a), b.shape, layout(b))).encode()) % (SIZE // 2)
    for here in range(0, flat.size, SIZE // 2):
        part = flat[here : here + SIZE // 2]
        part *= factors[start : start + part.size]
    return flat.reshape(product.shape)


def layout(array: Any) -> str:
    """Return which of a matrix is contiguous, as a BLAS sees it: rows, columns, or neither."""
    row, column = (
        size == 1 or stride == array.itemsize
        for size, stride in zip(array.shape[-2:], array.strides[-2:], strict=True)
    )
    return "rows" if column else "columns" if row else "neither"


@cache
def pattern(dtype: str) -> Any:
    """Return the factors, drawn only once: tests that measure memory should not count them."""
    moves = np.random.default_rng(0).choice([-1, 0, 1], SIZE, p=[1 / 16, 7 / 8, 1 / 16])
    return 1 + np.finfo(dtype).eps * moves.astype(dtype)


@contextmanager
def in_place_of_numpys() -> Iterator[None]:
    """Replace the product of NumPy's arrays, as `portable_rnn` calls it: function and operator."""
    own, operator = array_api_compat.numpy.matmul, affine.matmul
    array_api_compat.numpy.matmul = matmul
    affine.matmul = lambda xp, a, b: xp.matmul(a, b)
    try:
        yield
    finally:
        array_api_compat.numpy.matmul, affine.matmul = own, operator


def pytest_configure(config: Any) -> None:
    """Replace the product in all tests."""
    for dtype in ("float16", "float32", "float64"):
        pattern(dtype)
    product = in_place_of_numpys()
    product.__enter__()
    config.add_cleanup(lambda: product.__exit__(None, None, None))
