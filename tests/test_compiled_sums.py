"""Gradients that compiled loops sum over rows are as exact as the suite requires."""

import numpy as np
import pytest
from conformance.mutants import compiled_here
from conformance.tolerances import K, error_in_eps

if reason := compiled_here.why_not():
    pytest.skip(reason, allow_module_level=True)

from portable_rnn._executors.llvm_target import host
from portable_rnn._executors.sums import sums
from portable_rnn._executors.tables import LEAF, PANEL, PIECE

pytestmark = pytest.mark.no_products

WIDTHS = (128, 256, 512)  # wider vectors than the processor's are made of several
# Rows, outputs, and the inputs of both products: fewer and more than a leaf, a piece, a panel, a
# vector, and a tile of them, and none.
SIZES = [
    (1, 1, 1, 1),
    (5, 7, 3, 0),
    (LEAF + 1, PANEL, 16, 17),
    (PIECE - 1, PANEL + 1, 33, 64),
    (2 * PIECE + 5, 3 * PANEL - 1, 65, 2),
    (0, 4, 3, 2),
]


def drawn(size, dtype):
    rows, outputs, *inputs = size
    rng = np.random.default_rng(rows)
    one, other = (rng.standard_normal((rows, n)).astype(dtype) for n in inputs)
    return rng.standard_normal((rows, outputs)).astype(dtype), one, other


def added(d, *inputs, dtype, bits=None):
    """Return the sums, added to zeros."""
    outputs = d.shape[-1]
    bias = np.zeros(outputs, dtype)
    weights = [np.zeros((outputs, x.shape[-1]), dtype) for x in inputs]
    sums(np.dtype(dtype).name, host(bits)).add(d, bias, *zip(weights, inputs, strict=True))
    return [bias, *weights]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bits", WIDTHS)
def test_sums_are_those_of_longer_floats(bits, dtype, size):
    d, *inputs = drawn(size, dtype)
    exact = d.astype(np.longdouble)
    want = [exact.sum(axis=0), *(exact.T @ x.astype(np.longdouble) for x in inputs)]
    for expected, got in zip(want, added(d, *inputs, dtype=dtype, bits=bits), strict=True):
        assert got.shape == expected.shape
        assert (
            not got.size
            or error_in_eps(got, expected.astype(np.float64), scale=np.abs(d).max(initial=1)) <= K
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_have_the_same_bits_whatever_the_width_of_vectors(dtype):
    """Each is made in the order of the rows, by leaves and pieces that no tile depends on."""
    arrays = drawn((2 * PIECE + 5, 2 * PANEL + 3, 65, 17), dtype)
    want, *others = (added(*arrays, dtype=dtype, bits=bits) for bits in WIDTHS)
    for other in others:
        for one, array in zip(want, other, strict=True):
            np.testing.assert_array_equal(one, array)


def test_sums_are_added_to_what_is_there():
    d, one, other = drawn((70, 14, 20, 5), np.float32)
    once = added(d, one, other, dtype=np.float32)
    total = [array.copy() for array in once]
    bias, *weights = total
    sums("float32", host()).add(d, bias, *zip(weights, (one, other), strict=True))
    for array, part in zip(total, once, strict=True):
        np.testing.assert_array_equal(array, 2 * part)


def test_what_is_not_a_number_stays_in_its_row_and_column():
    """Nor is it in the padding of a vector, which would be added to the next row."""
    d, x, _ = drawn((LEAF, PANEL + 1, 17, 0), np.float32)
    d[3, 0], x[3, 16] = np.nan, np.inf
    bias, weight = added(d, x, dtype=np.float32)
    assert np.isnan(bias[0])
    assert np.isfinite(bias[1:]).all()
    assert np.isnan(weight[0]).all()
    assert np.isfinite(weight[1:, :16]).all()
    assert not np.isfinite(weight[:, 16]).any()


@pytest.mark.parametrize("layout", ["strided", "transposed", "read-only", "misaligned"])
def test_rows_may_lie_anyhow(layout):
    d, x, _ = drawn((20, 6, 9, 0), np.float32)
    want = added(d, x, dtype=np.float32)
    if layout == "strided":
        d, x = (np.repeat(array, 2, axis=1)[:, ::2] for array in (d, x))
    elif layout == "transposed":
        d, x = (np.asfortranarray(array) for array in (d, x))
    elif layout == "read-only":
        d.setflags(write=False)
        x.setflags(write=False)
    else:
        moved = []
        for array in (d, x):
            room = np.zeros(array.nbytes + 1, np.uint8)[1:]
            moved.append(room.view(np.float32).reshape(array.shape))
            moved[-1][...] = array
        d, x = moved
        assert not d.flags.aligned
    for one, other in zip(want, added(d, x, dtype=np.float32), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("rows", [PIECE, 16 * PIECE])
def test_numbers_that_are_all_alike_add_up(rows):
    """The worst case of a sum, which always rounds the same way."""
    d, x = np.full((rows, 3), 0.3, np.float32), np.full((rows, 2), 0.7, np.float32)
    bias, weight = added(d, x, dtype=np.float32)
    one, other = np.float64(np.float32(0.3)), np.float64(np.float32(0.7))
    for array, want in ((bias, rows * one), (weight, rows * one * other)):
        assert error_in_eps(array, np.full_like(array, want, np.float64), scale=want) <= K
