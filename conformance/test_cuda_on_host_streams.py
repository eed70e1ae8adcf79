"""The emulated device itself: streams, devices, graphs, and what is counted."""

import ctypes

import numpy as np
import pytest

from . import cuda_on_host
from .emulated import STORE, kernel

pytestmark = pytest.mark.rows("cupy-host")


# ------------------------------------------------------------------------ streams and devices


def two_streams(cp, *, with_event):
    """Add on one stream what another has written."""
    a, b = cp.zeros((2, 256), dtype=cp.float32)
    first, second = (cp.cuda.Stream(non_blocking=True) for _ in range(2))
    cp.cuda.Device().synchronize()
    out = cp.empty(256, dtype=cp.float32)
    with first:
        a += 1.0
        a += 1.0
    if with_event:
        second.wait_event(first.record())
    with second:
        cp.add(a, b, out=out)
    second.synchronize()
    found = out.get()
    cp.cuda.Device().synchronize()
    return found


def test_a_missing_event_shows_when_nothing_runs_early(cp):
    with cuda_on_host.settings(lazy=True):
        cuda_on_host.device().host_seed(0)
        assert (two_streams(cp, with_event=True) == 2).all()
        found = {two_streams(cp, with_event=False)[0] for _ in range(8)}
    assert found != {2.0}


def test_the_null_stream_waits_for_blocking_streams_and_they_for_it(cp):
    with cuda_on_host.settings(lazy=True):
        values = cp.zeros(8, dtype=cp.float32)
        with cp.cuda.Stream() as blocking:
            values += 1.0
        cp.add(values, 1.0, out=values)  # on the null stream
        with blocking:
            cp.multiply(values, 3.0, out=values)
        assert cuda_on_host.device().host_pending() > 0
        blocking.synchronize()
        assert values.get().tolist() == [6.0] * 8


def test_a_copy_from_ordinary_memory_is_read_at_once_and_from_pinned_memory_later(cp):
    with cuda_on_host.settings(lazy=True):
        stream = cp.cuda.Stream(non_blocking=True)
        pinned = np.frombuffer(cp.cuda.alloc_pinned_memory(32), np.float32, 8)
        for host, want in ((np.zeros(8, np.float32), 1.0), (pinned, 2.0)):
            host[...] = 1.0
            device = cp.empty(8, dtype=cp.float32)
            cp.cuda.Device().synchronize()
            cp.cuda.runtime.memcpyAsync(device.data.ptr, host.ctypes.data, 32, 1, stream.ptr)
            host[...] = 2.0
            stream.synchronize()
            assert device[0] == want


def test_work_on_another_device_is_refused_without_peers_and_allowed_with(cp):
    with cp.cuda.Device(1):
        there = cp.ones(4, dtype=cp.float32)
    with pytest.raises(ValueError, match="Peer access is unavailable"):
        there + 1.0
    with cuda_on_host.settings(peers=True), pytest.warns(cp._util.PerformanceWarning):
        assert (there + 1.0).get().tolist() == [2.0] * 4
    with cp.cuda.Device(1):
        assert (there + 1.0).device.id == 1


def test_a_pointer_of_another_device_stops_a_kernel(cp):
    add, here = kernel(cp, "add", STORE), cp.ones(4, dtype=cp.float32)
    with cp.cuda.Device(1):
        there = cp.ones(4, dtype=cp.float32)
    with pytest.raises(cp.cuda.driver.CUDADriverError):
        add((1,), (4,), (here, there.data.ptr, here, np.int32(4)))
    assert "cannot be reached" in cuda_on_host.failure()


# ------------------------------------------------------------------------------------- graphs


def test_a_graph_reads_what_is_there_when_it_is_launched(cp):
    add = kernel(cp, "add", STORE)
    a, b = cp.ones((2, 4), dtype=cp.float32)
    out = cp.zeros(4, dtype=cp.float32)
    with cp.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        add((1,), (4,), (a, b, out, np.int32(4)))
        graph = stream.end_capture()
        stream.synchronize()
        assert out.get().tolist() == [0.0] * 4  # nothing has run
        a += 1.0
        graph.launch()
        stream.synchronize()
        assert out.get().tolist() == [3.0] * 4


@pytest.mark.parametrize("what", ["matmul", "read", "upload", "synchronize"])
def test_what_cannot_be_captured_is_refused(cp, what):
    a, stream = cp.ones((4, 4), dtype=cp.float32), cp.cuda.Stream(non_blocking=True)
    a @ a
    calls = {
        "matmul": lambda: a @ a,
        "read": lambda: float(a[0, 0]),
        "upload": lambda: cp.asarray(np.ones(4)),
        "synchronize": stream.synchronize,
    }
    refused = (NotImplementedError, cp.cuda.runtime.CUDARuntimeError, RuntimeError)
    with stream:
        stream.begin_capture()
        try:
            with pytest.raises(refused):
                calls[what]()
        finally:
            try:
                stream.end_capture()
            except cp.cuda.runtime.CUDARuntimeError:
                assert what != "matmul"  # which CuPy refuses before it reaches the device


def gemm(cp, handle, a, out):
    """Enqueue ``out = a a`` by cuBLAS, as who calls it without CuPy; return the status."""
    factors = (ctypes.c_float * 2)(1.0, 0.0)
    one = ctypes.addressof(factors)
    numbers = (0, 0, *[len(a)] * 3, one, a.data.ptr, 0, len(a), a.data.ptr, 0, len(a), one + 4)
    call = cuda_on_host.device().cublasGemmEx
    call.argtypes = [ctypes.c_void_p, *[ctypes.c_int] * 5, *[ctypes.c_void_p] * 2]
    call.argtypes += [*[ctypes.c_int] * 2, ctypes.c_void_p, *[ctypes.c_int] * 2]
    call.argtypes += [*[ctypes.c_void_p] * 2, *[ctypes.c_int] * 4]
    return call(handle, *numbers, out.data.ptr, 0, len(a), 68, -1)


def handle_of(stream, workspace=None):
    """Return a handle of cuBLAS for a stream, with a workspace."""
    core, handle = cuda_on_host.device(), ctypes.c_void_p()
    core.cublasCreate_v2(ctypes.byref(handle))
    core.cublasSetStream_v2(handle, ctypes.c_void_p(stream.ptr))
    if workspace is not None:
        given = ctypes.c_void_p(workspace.data.ptr), ctypes.c_size_t(workspace.nbytes)
        assert core.cublasSetWorkspace_v2(handle, *given) == 0
    return handle


def test_a_captured_product_writes_to_its_own_workspace_when_the_graph_runs(cp):
    stream, a = cp.cuda.Stream(non_blocking=True), cp.full((3, 3), 2, dtype=cp.float32)
    out, workspace = cp.zeros((3, 3), dtype=cp.float32), cp.zeros(16 << 10, dtype=cp.uint8)
    with stream:
        handle = handle_of(stream, workspace)
        stream.begin_capture()
        assert gemm(cp, handle, a, out) == 0
        graph = stream.end_capture()
        stream.synchronize()
        assert not out.any()
        assert not workspace.any()
        graph.launch()
        stream.synchronize()
        assert (out == 12).all()
        assert workspace.any()


@pytest.mark.parametrize("size", [0, 4 << 10])
def test_a_captured_product_without_a_workspace_of_its_own_is_refused(cp, size):
    stream, a = cp.cuda.Stream(non_blocking=True), cp.ones((3, 3), dtype=cp.float32)
    handle = handle_of(stream, cp.zeros(size, dtype=cp.uint8) if size else None)
    assert gemm(cp, handle, a, cp.zeros_like(a)) == 0
    stream.begin_capture()
    assert gemm(cp, handle, a, cp.zeros_like(a)) == 14
    assert end(stream) == "Invalidated"
    # To set the stream takes the workspace away.
    handle = handle_of(stream, cp.zeros(16 << 10, dtype=cp.uint8))
    cuda_on_host.device().cublasSetStream_v2(handle, ctypes.c_void_p(stream.ptr))
    stream.begin_capture()
    assert gemm(cp, handle, a, cp.zeros_like(a)) == 14
    assert end(stream) == "Invalidated"
    cuda_on_host.failure()


def test_what_is_sorted_in_a_capture_is_sorted_when_the_graph_runs(cp):
    numbers = cp.asarray([3, 1, 2])
    cp.sort(numbers), cp.argsort(numbers)  # compiled
    pool = cp.cuda.MemoryPool()  # for what is only there in between
    with cp.cuda.using_allocator(pool.malloc), cp.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        found = cp.sort(numbers), cp.argsort(numbers)
        graph = stream.end_capture()
        numbers[...] = numbers[::-1] * 10
        graph.launch()
        stream.synchronize()
        assert [one.tolist() for one in found] == [[10, 20, 30], [1, 0, 2]]


# -------------------------------------------------------------------------------------- counts


def test_what_reaches_the_device_is_counted(cp):
    a = cp.ones((3, 3), dtype=cp.float32)
    with cp.cuda.Stream(non_blocking=True) as stream:
        (a @ a) + a  # compiled
        with cuda_on_host.Log(root="test_cuda_on_host") as log:
            b = cp.asarray(np.ones((3, 3), np.float32))
            float(((a @ b) + a)[0, 0])
        stream.synchronize()
    assert log.counts["gemm"] == log.kernels["cupy_add__float32_float32_float32"] == 1
    assert (log.counts["h2d"], log.bytes["h2d"]) == (1, 36)
    assert log.counts["d2h"] == log.counts["sync"] == 1
    assert log.counts["malloc"] == 3
    assert set(log.streams) == {stream.ptr}
    assert set(log.devices) == {0}
    assert all("test_cuda_on_host_streams.py" in line for line in log.lines)


# --------------------------------------------------------------------------- what is enqueued


def test_an_event_has_the_time_when_it_was_reached(cp):
    with cuda_on_host.settings(lazy=True):
        cuda_on_host.device().host_seed(0)
        stream = cp.cuda.Stream(non_blocking=True)
        first, last = cp.cuda.Event(), cp.cuda.Event()
        first.record(stream)
        with stream:
            cp.ones(20000).sum()
        last.record(stream)
        with pytest.raises(cp.cuda.runtime.CUDARuntimeError, match="NotReady"):
            cp.cuda.get_elapsed_time(first, last)
        last.synchronize()
        assert cp.cuda.get_elapsed_time(first, last) > 0
    without = cp.cuda.Event(disable_timing=True)
    without.record()
    with pytest.raises(cp.cuda.runtime.CUDARuntimeError):
        cp.cuda.get_elapsed_time(first, without)


def test_what_is_freed_in_the_order_of_a_stream_is_there_for_what_came_before(cp):
    runtime = cp.cuda.runtime
    with cuda_on_host.settings(lazy=True):
        stream = cp.cuda.Stream(non_blocking=True)
        pointer = runtime.mallocAsync(16, stream.ptr)
        held = cp.cuda.UnownedMemory(pointer, 16, owner=None)
        values = cp.ndarray((4,), cp.float32, cp.cuda.MemoryPointer(held, 0))
        with stream:
            values[...] = 1.0
            kept = values + 1.0
            runtime.freeAsync(pointer, stream.ptr)
            late = values + 1.0
        stream.synchronize()
        assert (kept == 2).all()
        assert cp.isnan(late).all()


def test_an_inner_log_counts_and_then_the_outer_one_again(cp):
    a = cp.ones(3)
    with cuda_on_host.Log() as outer:
        cp.add(a, a)
        with cuda_on_host.Log() as inner:
            cp.add(a, a)
        cp.add(a, a)
    cp.add(a, a)
    assert (outer.counts["launch"], inner.counts["launch"]) == (2, 1)


# ----------------------------------------------------------------------------------- captures


def end(stream):
    """End a capture that must fail, and return the name of the error."""
    from cupy.cuda.runtime import CUDARuntimeError

    with pytest.raises(CUDARuntimeError) as raised:
        stream.end_capture()
    return str(raised.value).partition(":")[0].removeprefix("cudaErrorStreamCapture")


def test_a_second_stream_takes_part_in_a_capture_if_it_is_joined(cp):
    add, (a, out) = kernel(cp, "add"), cp.ones((2, 4), dtype=cp.float32)
    first, second = (cp.cuda.Stream(non_blocking=True) for _ in range(2))
    for joined in (True, False):
        first.begin_capture()
        fork = cp.cuda.Event(disable_timing=True)
        fork.record(first)
        second.wait_event(fork)
        with second:
            add((1,), (4,), (a, out, out, np.int32(4)))
        if joined:
            join = cp.cuda.Event(disable_timing=True)
            join.record(second)
            first.wait_event(join)
            graph = first.end_capture()
        else:
            assert end(first) == "Unjoined"
    graph.launch(first)
    first.synchronize()
    assert (out == 2).all()


def test_a_capture_does_not_wait_for_what_is_outside(cp):
    first, second = (cp.cuda.Stream(non_blocking=True) for _ in range(2))
    event = cp.cuda.Event(disable_timing=True)
    event.record(second)
    first.begin_capture()
    with pytest.raises(cp.cuda.runtime.CUDARuntimeError, match="Isolation"):
        first.wait_event(event)
    assert end(first) == "Invalidated"


def test_the_null_stream_disturbs_the_capture_of_a_blocking_stream(cp):
    add, (a, out) = kernel(cp, "add"), cp.ones((2, 4), dtype=cp.float32)
    stream = cp.cuda.Stream()
    stream.begin_capture()
    with pytest.raises(cp.cuda.driver.CUDADriverError, match="null stream"):
        add((1,), (4,), (a, out, out, np.int32(4)))
    assert end(stream) == "Invalidated"


def test_memory_is_allocated_in_relaxed_captures_only(cp):
    runtime, stream = cp.cuda.runtime, cp.cuda.Stream(non_blocking=True)
    stream.begin_capture()
    runtime.free(runtime.malloc(8))
    stream.end_capture()
    stream.begin_capture(runtime.streamCaptureModeGlobal)
    with pytest.raises(runtime.CUDARuntimeError):
        runtime.malloc(8)
    assert end(stream) == "Invalidated"


def test_a_graph_that_writes_to_a_temporary_that_is_gone_is_reported(cp):
    a, out = cp.ones((2, 4), dtype=cp.float32)
    a + a + 1.0  # compiled
    with cp.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        cp.add(a + a, 1.0, out=out)
        graph = stream.end_capture()
        graph.launch()
    assert "bytes that were freed" in cuda_on_host.memory_check()
