"""Stage: what single operations cost: a launch, a node of a graph, barriers, calls, a product.

``device_us`` is the time between two events of operations that waited behind a kernel that spins,
so that the device did not wait for the host. Of barriers it is a slope: the time of many less that
of few, divided by their difference.
"""

import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from .settings import Save, Settings

__all__ = ["run"]

# The barriers are in PTX; the emulated device, which runs C++, has others.
SOURCE = r"""
extern "C" __global__ void empty() {}

extern "C" __global__ void spin(long long cycles) {
  long long until = clock64() + cycles;
  while (clock64() < until) {}
}

static __device__ void arrive(unsigned* count) {
#ifdef CUDA_ON_HOST
  atomicAdd(count, 1u);
#else
  asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(count) : "memory");
#endif
}

static __device__ unsigned arrived(unsigned* count) {
#ifdef CUDA_ON_HOST
  __nanosleep(1);
  return *count;
#else
  unsigned found;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(found) : "l"(count) : "memory");
  return found;
#endif
}

extern "C" __global__ void grid_barriers(unsigned* count, int times) {
  for (int i = 0; i < times; i++) {
    __syncthreads();
    if (threadIdx.x == 0) {
      arrive(count);
      while (arrived(count) < (i + 1u) * gridDim.x) {}
    }
    __syncthreads();
  }
}
"""
CLUSTER = r"""
extern "C" __global__ void __cluster_dims__(SIZE, 1, 1) cluster_barriers(int times) {
  for (int i = 0; i < times; i++) {
#ifdef CUDA_ON_HOST
    host_wait(cuda_on_host::cluster_group);
#else
    asm volatile("barrier.cluster.arrive.release.aligned;\n"
                 "barrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
  }
}
"""
GROUPS = (1, 2, 4, 8)
Call = Callable[[], Any]


def run(settings: Settings, save: Save) -> dict[str, Any]:
    """Return microseconds of all operations; a group that fails is recorded as such."""
    cp = import_module("cupy")
    found: dict[str, Any] = {"unit": "µs", "problems": []}
    groups = (launches, graphs, grid_barriers, cluster_barriers, host_calls, products)
    for group in groups:
        with cp.cuda.Stream(non_blocking=True):
            try:
                found[group.__name__] = group(cp, settings)
            except Exception as error:
                found["problems"].append(f"{group.__name__}: {type(error).__name__}: {error}")
        save(found)
    return found


def kernel(cp: Any, name: str, source: str = SOURCE, *, cooperative: bool = False) -> Any:
    """Return a kernel of a source."""
    module = cp.RawModule(code=source, enable_cooperative_groups=cooperative)
    return module.get_function(name)


def host_us(cp: Any, call: Call, times: int) -> float:
    """Return microseconds of the host for one call; the device may lag behind."""
    call()
    cp.cuda.get_current_stream().synchronize()
    started = time.perf_counter()
    for _ in range(times):
        call()
    spent = time.perf_counter() - started
    cp.cuda.get_current_stream().synchronize()
    return 1e6 * spent / times


def device_us(cp: Any, call: Call, times: int, spin: int) -> float:
    """Return microseconds of the device for one call of those that wait behind a spinning one."""
    call()
    start, end = cp.cuda.Event(), cp.cuda.Event()
    kernel(cp, "spin")((1,), (1,), (cp.int64(spin),))
    start.record()
    for _ in range(times):
        call()
    end.record()
    end.synchronize()
    return 1e3 * float(cp.cuda.get_elapsed_time(start, end)) / times


def launches(cp: Any, settings: Settings) -> dict[str, float]:
    """Time an empty kernel: on the host, and on the device, one after another."""
    empty = kernel(cp, "empty")

    def call() -> None:
        empty((1,), (32,), ())

    behind = min(settings.repeats, 500)  # a stream holds about a thousand
    return {
        "host_us": host_us(cp, call, settings.repeats),
        "device_us": device_us(cp, call, behind, settings.spin),
    }


def graphs(cp: Any, settings: Settings) -> list[dict[str, float]]:
    """Time graphs of empty kernels: to make, and to run, for each node."""
    empty, stream, rows = kernel(cp, "empty"), cp.cuda.get_current_stream(), []
    empty((1,), (32,), ())
    for nodes in settings.nodes:
        stream.begin_capture()
        for _ in range(nodes):
            empty((1,), (32,), ())
        started = time.perf_counter()
        graph = stream.end_capture()
        made = time.perf_counter() - started
        spent = device_us(cp, graph.launch, 3, settings.spin)
        rows.append(
            {"nodes": nodes, "instantiate_us": 1e6 * made, "device_us_per_node": spent / nodes}
        )
    return rows


def grid_barriers(cp: Any, settings: Settings) -> list[dict[str, Any]]:
    """Time a barrier of all blocks of a cooperative launch, by the number of blocks."""
    barriers = kernel(cp, "grid_barriers", cooperative=True)
    most = cp.cuda.runtime.getDeviceProperties(cp.cuda.Device().id)["multiProcessorCount"]
    rows = []
    for blocks in sorted({min(number, most) for number in settings.grid}):
        count = cp.zeros(1, dtype=cp.uint32)

        def call(times: int, count: Any = count, blocks: int = blocks) -> None:
            count.fill(0)
            barriers((blocks,), (settings.threads,), (count, cp.int32(times)))

        rows.append({"blocks": blocks, "device_us": slope(cp, call, settings)})
    return rows


def cluster_barriers(cp: Any, settings: Settings) -> list[dict[str, Any]]:
    """Time a barrier of a cluster of blocks, by its size; devices before 9.0 have no clusters."""
    rows: list[dict[str, Any]] = []
    if int(cp.cuda.Device().compute_capability) < 90:
        return rows
    for size in GROUPS:
        barriers = kernel(cp, "cluster_barriers", CLUSTER.replace("SIZE", str(size)))

        def call(times: int, barriers: Any = barriers, size: int = size) -> None:
            barriers((size,), (settings.threads,), (cp.int32(times),))

        rows.append({"blocks": size, "device_us": slope(cp, call, settings)})
    return rows


def slope(cp: Any, call: Callable[[int], Any], settings: Settings) -> float:
    """Return microseconds of one of what a kernel does many times."""
    few, many = settings.barriers
    spent = [device_us(cp, partial(call, times), 3, settings.spin) for times in (few, many)]
    return (spent[1] - spent[0]) / (many - few)


def host_calls(cp: Any, settings: Settings) -> dict[str, float]:
    """Time what CuPy's calls cost on the host, on small arrays."""
    a, w = (cp.ones(shape, dtype=cp.float32) for shape in ((16, 64), (64, 64)))
    out = cp.empty_like(a)
    added = cp.ElementwiseKernel("T x, T y", "T z", "z = x + y", "gpu_added")
    empty = kernel(cp, "empty")
    calls: dict[str, Call] = {
        "a + a": lambda: a + a,
        "add(a, a, out)": lambda: cp.add(a, a, out=out),
        "tanh(a)": lambda: cp.tanh(a),
        "a[:, :32]": lambda: a[:, :32],
        "matmul(a, w)": lambda: cp.matmul(a, w),
        "matmul(a, w, out)": lambda: cp.matmul(a, w, out=out),
        "ElementwiseKernel": lambda: added(a, a, out),
        "RawKernel": lambda: empty((1,), (32,), ()),
    }
    return {name: host_us(cp, call, settings.repeats) for name, call in calls.items()}


def products(cp: Any, settings: Settings) -> list[dict[str, Any]]:
    """Time the smallest products of a step: (B, H) times (H, 4·H), float32."""
    rows = []
    for batch, hidden in ((1, 64), (16, 128), *settings.sizes)[: 2 if settings.rehearse else None]:
        h, w, out = (
            cp.ones(shape, dtype=cp.float32)
            for shape in ((batch, hidden), (hidden, 4 * hidden), (batch, 4 * hidden))
        )

        def call(h: Any = h, w: Any = w, out: Any = out) -> None:
            cp.matmul(h, w, out=out)

        spent = device_us(cp, call, min(settings.repeats, 200), settings.spin)
        rows.append({"B": batch, "H": hidden, "device_us": spent})
    return rows
