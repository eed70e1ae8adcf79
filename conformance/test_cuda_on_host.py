"""The emulated device itself: memory, threads, launches, arithmetic.

Each promise of its README, with a program that breaks the rule and must be noticed.
"""

import numpy as np
import pytest

from . import cuda_on_host
from .emulated import STORE, kernel

pytestmark = pytest.mark.rows("cupy-host")


# ------------------------------------------------------------------------------------- memory


def test_memory_that_nobody_wrote_is_nan(cp):
    assert cp.isnan(cp.empty(1000, dtype=cp.float32)).all()
    assert cp.isnan(cp.empty(1000, dtype=cp.float64)).all()


@pytest.mark.parametrize("at", [-1, 5])
def test_a_write_outside_of_an_allocation_is_reported(cp, at):
    store, out = kernel(cp, "store", STORE), cp.zeros(5, dtype=cp.float32)
    store((1,), (1,), (out, np.int32(4), np.float32(1)))
    assert cuda_on_host.memory_check() == ""
    store((1,), (1,), (out, np.int32(at), np.float32(1)))
    assert "an allocation of 20 bytes" in cuda_on_host.memory_check()
    assert cuda_on_host.memory_check() == ""  # it is told once


def test_a_number_read_behind_an_allocation_is_enormous(cp):
    code = """
    extern "C" __global__ void total(const float* a, float* out, int n) {
      float sum = 0.0f;
      for (int i = 0; i < n; i++) sum += a[i];
      *out = sum;
    }"""
    run, a, out = kernel(cp, "total", code), cp.ones(128, dtype=cp.float32), cp.zeros(1, dtype="f4")
    run((1,), (1,), (a, out, np.int32(128)))
    assert out[0] == 128
    run((1,), (1,), (a, out, np.int32(132)))
    assert not abs(out[0]) < 1e30


def test_a_write_to_freed_memory_is_reported_and_freed_memory_is_nan(cp):
    store, out = kernel(cp, "store", STORE), cp.zeros(5, dtype=cp.float32)
    held = cp.cuda.UnownedMemory(out.data.ptr, out.nbytes, owner=None)
    stale = cp.ndarray((5,), cp.float32, cp.cuda.MemoryPointer(held, 0))
    del out
    assert cp.isnan(stale).all()
    store((1,), (1,), (stale, np.int32(0), np.float32(1)))
    assert "bytes that were freed" in cuda_on_host.memory_check()
    assert cuda_on_host.memory_check() == ""


def test_copies_and_fills_stay_in_one_allocation(cp):
    out, runtime = cp.zeros(5, dtype=cp.float32), cp.cuda.runtime
    host = np.zeros(6, np.float32)
    for call in (
        lambda: runtime.memcpy(out.data.ptr, host.ctypes.data, 24, 1),
        lambda: runtime.memsetAsync(out.data.ptr + 4, 0, 20, 0),
        lambda: runtime.free(out.data.ptr + 4),
    ):
        with pytest.raises(runtime.CUDARuntimeError) as raised:
            call()
        assert raised.value.__notes__
    assert cuda_on_host.memory_check() == ""


def test_what_nobody_was_told_is_told_at_the_end_of_settings(cp):
    run = kernel(cp, "f", 'extern "C" __global__ void f() { __trap(); }')
    with pytest.raises(RuntimeError, match="it stopped by itself"), cuda_on_host.settings():
        run((1,), (1,), ())
    with pytest.raises(KeyError), cuda_on_host.settings():  # noqa: PT012
        run((1,), (1,), ())
        raise KeyError  # which is not hidden


def test_shared_memory_that_nobody_wrote_is_nan(cp):
    code = """
    extern "C" __global__ void read(float* fixed, float* given) {
      __shared__ float a[32];
      extern __shared__ float b[];
      fixed[blockIdx.x * 32 + threadIdx.x] = a[threadIdx.x];
      given[blockIdx.x * 32 + threadIdx.x] = b[threadIdx.x];
      __syncthreads();
      a[threadIdx.x] = b[threadIdx.x] = 1.0f;
    }"""
    fixed, given = cp.zeros((2, 64), dtype=cp.float32)
    kernel(cp, "read", code)((2,), (32,), (fixed, given), shared_mem=128)
    assert cp.isnan(fixed).all()
    assert cp.isnan(given).all()


# ------------------------------------------------------------------------------------ threads


def test_blocks_run_in_an_order_of_the_seed(cp):
    code = """
    extern "C" __global__ void order(int* next, int* found) {
      if (threadIdx.x == 0) found[atomicAdd(next, 1)] = blockIdx.x;
    }"""
    run, orders = kernel(cp, "order", code), []
    for seed in (1, 2, 1):
        cuda_on_host.device().host_seed(seed)
        found = cp.zeros(65, dtype=cp.int32)
        run((64,), (32,), (found[:1], found[1:]))
        orders.append(found[1:].get().tolist())
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == list(range(64))


REVERSE = """
extern "C" __global__ void reverse(float* values) {
  __shared__ float held[96];
  held[threadIdx.x] = values[threadIdx.x];
  BARRIER
  values[threadIdx.x] = held[95 - threadIdx.x];
}"""


def test_threads_wait_for_each_other_at_a_barrier(cp):
    values = cp.arange(96, dtype=cp.float32)
    kernel(cp, "reverse", REVERSE.replace("BARRIER", "__syncthreads();"))((1,), (96,), (values,))
    assert cp.array_equal(values, cp.arange(95, -1, -1))
    values = cp.arange(96, dtype=cp.float32)
    kernel(cp, "reverse", REVERSE.replace("BARRIER", ""))((1,), (96,), (values,))
    assert cp.isnan(values).any()


@pytest.mark.parametrize(
    "code",
    [
        # A barrier that one thread never reaches, since it waits for what comes after it.
        """extern "C" __global__ void stuck(volatile int* flag) {
             if (threadIdx.x == 0) { while (!flag[0]) __nanosleep(1); }
             __syncthreads();
             flag[0] = 1;
           }""",
        """extern "C" __global__ void stuck(volatile int* flag) {
             while (flag[0] == 0) __nanosleep(1);
           }""",
    ],
)
def test_threads_that_wait_for_ever_are_an_error(cp, code):
    run, flag = kernel(cp, "stuck", code), cp.zeros(1, dtype=cp.int32)
    run((1,), (64,), (flag,))
    with pytest.raises(cp.cuda.runtime.CUDARuntimeError) as raised:
        cp.cuda.runtime.deviceSynchronize()
    assert "wait for ever" in raised.value.__notes__[0]


def test_a_barrier_counts_the_threads_that_have_not_returned(cp):
    code = """
    extern "C" __global__ void some(float* out) {
      if (threadIdx.x >= 10) return;
      __syncthreads();
      out[threadIdx.x] = 1.0f;
    }"""
    out = cp.zeros(64, dtype=cp.float32)
    kernel(cp, "some", code)((1,), (64,), (out,))
    assert out.sum() == 10


def test_lanes_of_a_warp_exchange_values(cp):
    code = """
    extern "C" __global__ void sums(const float* a, float* tree, float* shifted, unsigned* vote) {
      float v = a[threadIdx.x];
      for (int by = 16; by; by /= 2) v += __shfl_xor_sync(~0u, v, by);
      tree[threadIdx.x] = v;
      shifted[threadIdx.x] = __shfl_down_sync(~0u, a[threadIdx.x], 1);
      vote[threadIdx.x] = __ballot_sync(~0u, threadIdx.x % 2);
    }"""
    a = cp.arange(64, dtype=cp.float32)
    tree, shifted, vote = cp.empty_like(a), cp.empty_like(a), cp.empty(64, dtype=cp.uint32)
    kernel(cp, "sums", code)((1,), (64,), (a, tree, shifted, vote))
    assert cp.array_equal(tree, cp.repeat(a.reshape(2, 32).sum(axis=1), 32))
    assert shifted[0] == 1
    assert shifted[31] == 31
    assert (vote == 0xAAAAAAAA).all()


BARRIER_OF_THE_GRID = """
extern "C" __global__ void pass(volatile int* arrived, float* values, int blocks) {
  values[blockIdx.x] = blockIdx.x + 1;
  atomicAdd((int*)arrived, 1);
  while (arrived[0] < blocks) __nanosleep(1);
  float found = values[(blockIdx.x + 1) % blocks];
  atomicAdd((int*)arrived + 1, 1);
  while (arrived[1] < blocks) __nanosleep(1);
  values[blockIdx.x] = found;
}"""


def test_blocks_of_a_cooperative_launch_are_there_at_once(cp):
    options = {"options": ("-std=c++17",)}
    plain = cp.RawKernel(BARRIER_OF_THE_GRID, "pass", **options)
    together = cp.RawKernel(BARRIER_OF_THE_GRID, "pass", enable_cooperative_groups=True, **options)
    values, arrived = cp.zeros(8, dtype=cp.float32), cp.zeros(2, dtype=cp.int32)
    together((8,), (1,), (arrived, values, np.int32(8)))
    assert values.get().tolist() == [2, 3, 4, 5, 6, 7, 8, 1]
    arrived[...] = 0
    plain((8,), (1,), (arrived, values, np.int32(8)))  # one after another: the first waits
    assert "wait for ever" in cuda_on_host.memory_check()


def test_a_lane_that_waits_for_others_than_itself_is_an_error(cp):
    code = 'extern "C" __global__ void f() { __syncwarp(2); }'
    kernel(cp, "f", code)((1,), (1,), ())
    assert "lane 0 waits for lanes 00000002, without itself" in cuda_on_host.memory_check()


def test_a_trap_is_an_error_that_stays(cp):
    kernel(cp, "f", 'extern "C" __global__ void f() { __trap(); }')((1,), (1,), ())
    with pytest.raises(cp.cuda.runtime.CUDARuntimeError):
        cp.cuda.runtime.deviceSynchronize()
    with pytest.raises(cp.cuda.runtime.CUDARuntimeError):
        cp.cuda.runtime.deviceSynchronize()
    assert "it stopped by itself" in cuda_on_host.failure()
    cp.cuda.runtime.deviceSynchronize()


# ------------------------------------------------------------------------------------ launches


@pytest.mark.parametrize(
    ("grid", "block", "shared"), [((1,), (1025,), 0), ((1, 65536), (1,), 0), ((1,), (1,), 50000)]
)
def test_a_launch_beyond_the_limits_is_refused(cp, grid, block, shared):
    store, out = kernel(cp, "store", STORE), cp.zeros(5, dtype=cp.float32)
    with pytest.raises(cp.cuda.driver.CUDADriverError):
        store(grid, block, (out, np.int32(0), np.float32(1)), shared_mem=shared)


def test_launch_bounds_and_large_shared_memory_are_kept(cp):
    code = 'extern "C" __global__ void __launch_bounds__(64) few(float* out) { out[0] = 1; }'
    run, out = kernel(cp, "few", code), cp.zeros(1, dtype=cp.float32)
    with pytest.raises(cp.cuda.driver.CUDADriverError):
        run((1,), (65,), (out,))
    run.max_dynamic_shared_size_bytes = 200 << 10
    run((1,), (64,), (out,), shared_mem=200 << 10)
    assert out[0] == 1
    with pytest.raises(cp.cuda.driver.CUDADriverError):
        run.max_dynamic_shared_size_bytes = 228 << 10


def test_more_blocks_than_are_there_at_once_do_not_run_together(cp):
    code = 'extern "C" __global__ void f(float* out) { __shared__ float s[8192]; out[0] = s[0]; }'
    out = cp.zeros(1, dtype=cp.float32)
    run = cp.RawKernel(code, "f", enable_cooperative_groups=True)
    run((792,), (1,), (out,))  # 132 multiprocessors, each with 228 KiB: 6 of 33 KiB
    with pytest.warns(UserWarning, match="reduced from 793 to 792"):
        run((793,), (1,), (out,))


def test_static_and_dynamic_shared_memory_count_together(cp):
    code = 'extern "C" __global__ void f(float* out) { __shared__ float s[8192]; out[0] = s[0]; }'
    run, out = kernel(cp, "f", code), cp.zeros(1, dtype=cp.float32)
    run((1,), (1,), (out,), shared_mem=16 << 10)
    with pytest.raises(cp.cuda.driver.CUDADriverError, match="16384 are allowed"):
        run((1,), (1,), (out,), shared_mem=(16 << 10) + 4)


@pytest.mark.parametrize(("size", "blocks"), [(4, 6), (16, 16)])
def test_clusters_that_do_not_fit_are_refused(cp, size, blocks):
    code = f'extern "C" __global__ void __cluster_dims__({size}, 1, 1) f() {{}}'
    run = kernel(cp, "f", code)
    if size <= 8:
        run((2 * size,), (1,), ())
    with pytest.raises(cp.cuda.driver.CUDADriverError):
        run((blocks,), (1,), ())


def test_a_source_that_does_not_compile_says_why(cp):
    with pytest.raises(cp.cuda.compiler.CompileException, match="no_such_thing"):
        kernel(cp, "f", 'extern "C" __global__ void f() { no_such_thing(); }')


# ---------------------------------------------------------------------------------- arithmetic


def test_half_precision_rounds_to_nearest_even(cp):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    rng = np.random.default_rng(0)
    wide = np.ldexp(rng.standard_normal(20000), rng.integers(-150, 125, 20000)).astype("float32")
    ties = (np.arange(2**16, dtype=np.uint32) << 16 | 0x8000).view(np.float32)
    wide = np.concatenate([wide, ties, np.asarray([0.0, -0.0, np.inf, -np.inf, np.nan], "f4")])
    for dtype in (np.dtype("float16"), np.dtype(ml_dtypes.bfloat16)):
        with np.errstate(all="ignore"):
            want = wide.astype(dtype)
            back = np.arange(2**16, dtype=np.uint16).view(dtype)
            got = cp.asarray(wide).astype(dtype).get()
            assert np.array_equal(got.astype("f4"), want.astype("f4"), equal_nan=True), dtype
            got = cp.asarray(back).astype(cp.float32).get()
            assert np.array_equal(got, back.astype("f4"), equal_nan=True), dtype


@pytest.mark.parametrize("name", ["float32", "float64", "complex64", "complex128", "float16"])
def test_products_of_all_layouts_equal_numpys(cp, name):
    rng = np.random.default_rng(0)
    a, b = rng.integers(-4, 5, (2, 6, 6)).astype(name)
    if np.dtype(name).kind == "c":
        a, b = a + 1j * b, b - 2j * a
    for one in (a, a.T, a[:4], a[:, 1:5]):
        for other in (b, b.T, b.conj().T):
            if one.shape[1] == other.shape[0]:
                got = cp.asarray(one) @ cp.asarray(other)
                assert np.array_equal(got.get(), one @ other)


def test_wider_numbers_are_rounded_once_to_half_precision(cp):
    # Rounded to float32 first, these would be ties.
    wide = np.asarray([1 + 2.0**-11 + 2.0**-40, 1 + 3 * 2.0**-11 - 2.0**-40, 65519.999999])
    rng = np.random.default_rng(0)
    wide = np.concatenate([wide, np.ldexp(rng.standard_normal(5000), rng.integers(-26, 15, 5000))])
    with np.errstate(all="ignore"):
        want = wide.astype(np.float16)
    assert np.array_equal(cp.asarray(wide).astype(cp.float16).get(), want)


@pytest.mark.parametrize(("alpha", "beta"), [(2.0, 0.0), (1.0, 1.0), (-0.5, 3.0)])
def test_a_product_is_scaled_and_added_and_nothing_is_read_without_need(cp, alpha, beta):
    from cupy_backends.cuda.libs import cublas

    rng = np.random.default_rng(0)
    a, b = rng.integers(-4, 5, (2, 3, 3)).astype(np.float64)
    c = cp.asarray(np.ones((3, 3))) if beta else cp.empty((3, 3))  # of NaN
    factors = np.asarray([alpha, beta])
    x, y = factors.ctypes.data, factors.ctypes.data + 8
    da, db = cp.asarray(a), cp.asarray(b)
    given = (0, 1, 3, 3, 3, x, da.data.ptr, 3, db.data.ptr, 3, y, c.data.ptr, 3)
    cublas.dgemm(cp.cuda.device.get_cublas_handle(), *given)
    # Column-major: a is read as its transpose, and so is the product.
    assert np.array_equal(c.get().T, alpha * (a.T @ b) + beta)


def test_cupys_functions_equal_numpys(cp):
    rng = np.random.default_rng(0)
    host = rng.integers(-9, 10, (37, 41)).astype("float64")
    device = cp.asarray(host)
    for f in (
        lambda xp, a: a.sum(axis=0),
        lambda xp, a: a.max(axis=1),
        lambda xp, a: xp.argmax(a, axis=1),
        lambda xp, a: xp.cumsum(a, axis=1),
        lambda xp, a: xp.sort(a, axis=0),
        lambda xp, a: xp.argsort(xp.unique(a)),
        lambda xp, a: xp.where(a > 0, a, -a),
        lambda xp, a: xp.concatenate([a, a[::-1]], axis=1),
        lambda xp, a: xp.take(a, xp.asarray([3, 0, 36]), axis=0),
        lambda xp, a: a[a > 5],
        lambda xp, a: xp.stack([a] * 9).sum(axis=0),
        lambda xp, a: xp.bincount((a + 9).astype("int64").ravel()),
    ):
        assert np.array_equal(f(cp, device).get(), f(np, host))


def test_a_thing_that_is_not_emulated_says_its_name(cp):
    with pytest.raises(NotImplementedError, match=r"cuda_on_host: mallocArray is not emulated"):
        cp.cuda.runtime.mallocArray(0, 1, 1)
