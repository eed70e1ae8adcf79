"""Products of a stream that is captured in a CUDA graph: of each dtype, and however arrays lie."""

import numpy as np
import pytest

from . import cupy_here

if reason := cupy_here.why_not():
    pytest.skip(reason, allow_module_level=True)

import cupy as cp
import ml_dtypes
from examples import cuda_graph

import portable_rnn as prnn
from portable_rnn._arrays.cublas import product
from portable_rnn._engine.affine import matmul
from portable_rnn._executors.cublas import product_over_rows

pytestmark = [pytest.mark.no_products, pytest.mark.usefixtures("emulated_memory")]

EPS = {
    "float16": 2.0**-10,
    "bfloat16": 2.0**-7,
    **dict.fromkeys(("float32", "complex64"), 2.0**-23),
    **dict.fromkeys(("float64", "complex128"), 2.0**-52),
}
SHAPES = [(1, 4, 1), (1, 4, 3), (4, 1, 3), (3, 4, 1), (0, 4, 3), (2, 0, 3)]


def by_columns(a):
    """Return a copy whose columns are one after another; CuPy's own uses cuBLAS."""
    return cp.ascontiguousarray(a.T).T


LAYOUTS = {
    "rows": lambda a: a,
    "columns": by_columns,
    "every second number": lambda a: cp.stack([a, cp.full_like(a, cp.nan)], axis=2)[:, :, 0],
}


def drawn(shape, dtype):
    rng = np.random.default_rng(sum(shape))
    numbers = rng.standard_normal(shape)
    if dtype.startswith("complex"):
        numbers = numbers + 1j * rng.standard_normal(shape)
    return numbers.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def captured(compute):
    """Return the result of a graph of something that has been computed once."""
    stream, pool = cp.cuda.Stream(non_blocking=True), cp.cuda.MemoryPool()
    stream.wait_event(cp.cuda.get_current_stream().record())
    with stream, cp.cuda.using_allocator(pool.malloc):
        stream.begin_capture()
        found = compute()
        graph = stream.end_capture()
        graph.launch()
        stream.synchronize()
        return found.get()


@pytest.mark.parametrize("dtype", EPS)
def test_a_captured_product_is_that_of_numpy(dtype):
    a, b = drawn((5, 7), dtype), drawn((7, 3), dtype)
    wide = "complex128" if dtype.startswith("complex") else "float64"
    wanted = a.astype(wide) @ b.astype(wide)
    most = (abs(a.astype(wide)) @ abs(b.astype(wide))).max()
    for of_a in LAYOUTS.values():
        for of_b in LAYOUTS.values():
            factors = of_a(cp.asarray(a)), of_b(cp.asarray(b))
            found = captured(lambda factors=factors: product(*factors))
            assert found.dtype == a.dtype
            assert abs(found.astype(wide) - wanted).max() <= 2 * EPS[dtype] * most


@pytest.mark.parametrize("shape", SHAPES)
def test_a_captured_product_of_any_shape_is_that_of_cupy(shape):
    rows, inner, columns = shape
    a, b = (cp.asarray(drawn(each, "float32")) for each in ((rows, inner), (inner, columns)))
    wanted = cp.matmul(a, b).get()
    for each in (a, by_columns(a)):
        found = captured(lambda each=each: matmul(cp, each, b))
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("rows", [3, 700, 512 * 66])
def test_a_captured_sum_of_products_is_that_of_a_call(rows):
    d_y, x = (cp.asarray(drawn((rows, size), "float32")) for size in (4, 5))
    wanted = product_over_rows(d_y, x).get()
    found = captured(lambda: product_over_rows(d_y, x))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4)


def test_products_of_cupy_that_are_not_there_are_refused_outside_of_a_capture():
    class Without:
        @staticmethod
        def matmul(a, b):
            raise NotImplementedError("no such product")

    with pytest.raises(NotImplementedError, match="no such product"):
        matmul(Without, cp.ones((2, 2)), cp.ones((2, 2)))


def test_the_example_takes_the_steps_of_ordinary_calls(monkeypatch):
    def batches(xp, count):  # no emulated device has CuPy's random numbers
        for x in drawn((count, 5, 4, 8), "float32"):
            yield xp.asarray(x), xp.asarray(x[..., 4:].argmax(axis=-1))

    monkeypatch.setattr(cuda_graph, "batches", batches)
    found = cuda_graph.main(cp, count=51)
    params, state = cuda_graph.begin(cp)
    for number, (x, labels) in enumerate(batches(cp, 51)):
        result = prnn.bptt(cuda_graph.MODEL, params, x, labels)
        grads, _ = prnn.optimizers.clip_by_global_norm(result.grads, 1.0)
        rate = 0.01 if number < 25 else 0.001
        params, state = prnn.optimizers.adam(params, grads, state, lr=rate)
        if number in (0, 50):
            assert abs(found[number // 50] - float(result.loss)) < 1e-3
    assert found[1] < found[0]
