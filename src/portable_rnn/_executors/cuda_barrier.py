"""How the blocks of a group wait for each other between two steps of a persistent kernel.

What is PTX is in here, each instruction behind a function, with what stands for it where kernels
are compiled for the host (``CUDA_ON_HOST``). Three kinds of barrier:

- ``"block"``: the group is one block.
- ``"cluster"``: the hardware's, of a thread-block cluster (compute capability 9.0), whose blocks
  run at the same time or not at all.
- ``"global"``: a counter in global memory. Its blocks must all be resident, for which they are
  launched cooperatively. A block that waits longer than ``patience`` clock cycles sets the error
  word, fills what is left to compute with NaN, and returns; and so do all that wait for it.
"""

__all__ = ["BARRIERS", "PTX", "WORDS"]

# The first number of 32 bits is the error word; after so many comes the counter of each group. All
# are 0 when a kernel is launched.
WORDS = 64

PTX = r"""
typedef unsigned u32;
#ifdef CUDA_ON_HOST
__device__ inline u32 load_acquire(const u32* p) { return *(const volatile u32*)p; }
__device__ inline void add_release(u32* p) { *p += 1; }
__device__ inline void yield_() { host_wait(cuda_on_host::nobody); }
__device__ inline void cluster_arrive() {}
__device__ inline void cluster_wait() { host_wait(cuda_on_host::cluster_group); }
#else
__device__ inline u32 load_acquire(const u32* p) {
  u32 found;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(found) : "l"(p) : "memory");
  return found;
}
__device__ inline void add_release(u32* p) {
  asm volatile("red.release.gpu.global.add.u32 [%0], %1;" : : "l"(p), "r"(1) : "memory");
}
__device__ inline void yield_() {}
#if __CUDA_ARCH__ >= 900
__device__ inline void cluster_arrive() {
  asm volatile("barrier.cluster.arrive.release;" : : : "memory");
}
__device__ inline void cluster_wait() {
  asm volatile("barrier.cluster.wait.acquire;" : : : "memory");
}
#endif
#endif
"""

# `arrive` ends what a block has written in a step; after `wait` it reads what the others have. One
# block that exchanges nothing by global memory has nothing to wait for.
_BLOCK = r"""
struct Barrier {
  __device__ Barrier(u32*, int, int*, long long) {}
  __device__ void arrive() {}
  __device__ bool wait() {
    if (!DIRECT) __syncthreads();
    return true;
  }
};
"""

_CLUSTER = r"""
struct Barrier {
  __device__ Barrier(u32*, int, int*, long long) {}
  __device__ void arrive() { cluster_arrive(); }
  __device__ bool wait() {
    cluster_wait();
    return true;
  }
};
"""

_GLOBAL = r"""
struct Barrier {
  u32 *count, *error, target;
  int* late;  // in shared memory
  long long patience;
  __device__ Barrier(u32* words, int group, int* late, long long patience)
      : count(words + (group + 1) * WORDS), error(words), target(0), late(late),
        patience(patience) {}
  __device__ void arrive() {
    target += C;
    __syncthreads();
    if (threadIdx.x == 0) add_release(count);
  }
  __device__ bool wait() {
    if (threadIdx.x == 0) {
      const long long start = clock64();
      bool over = false;
      while (int(load_acquire(count) - target) < 0 && !over) {
        yield_();
        over = clock64() - start > patience;
      }
      if (over) *error = 1;
      *late = over;
    }
    __syncthreads();
    return !*late;
  }
};
"""

BARRIERS = {
    "block": _BLOCK,
    "cluster": _CLUSTER,
    "global": f"constexpr int WORDS = {WORDS};\n{_GLOBAL}",
}
