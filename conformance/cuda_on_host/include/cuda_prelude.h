// What NVRTC defines before it reads a kernel: qualifiers, indices, barriers, intrinsics. And what
// makes of a kernel a function that the emulated device can call.
#pragma once

#include <algorithm>
#include <array>
#include <cassert>
#include <cfloat>
#include <climits>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <type_traits>
#include <utility>

#include "cuda_on_host.h"

#define CUDA_ON_HOST 1  // for code that has PTX in it, and another way where there is none
#define __CUDACC_VER_MAJOR__ 13
#define __device__
#define __host__
#define __global__
#define __constant__ static
#define __shared__ static __attribute__((section("host_shared")))
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __restrict__ __restrict

static cuda_on_host::Thread* host_thread;
#define threadIdx (host_thread->thread)
#define blockIdx (host_thread->block)
#define blockDim (host_thread->block_size)
#define gridDim (host_thread->grid_size)
constexpr int warpSize = 32;

// ------------------------------------------------------------------------ threads that wait

static inline void host_wait(cuda_on_host::Group group, unsigned mask = ~0u) {
  cuda_on_host::Thread* own = host_thread;
  own->wait(group, mask);
  host_thread = own;
}
static inline void __syncthreads() { host_wait(cuda_on_host::block_group); }
static inline void __syncwarp(unsigned mask = ~0u) { host_wait(cuda_on_host::warp_group, mask); }
static inline void __threadfence() {}
static inline void __threadfence_block() {}
static inline void __nanosleep(unsigned) { host_wait(cuda_on_host::nobody); }
static inline unsigned __activemask() { return host_thread->active(); }
static inline long long clock64() { return host_thread->clock(); }
static inline void __trap() { host_thread->trap(); }

// Put a value where the other lanes of the warp find it, and take another lane's.
template <class T>
static inline T host_exchange(unsigned mask, T value, unsigned from) {
  static_assert(sizeof(T) <= 8, "a lane hands over at most 8 bytes");
  uint64_t* slots = host_thread->warp_slots;
  memcpy(slots + 8 * host_thread->lane, &value, sizeof value);
  __syncwarp(mask);
  T found;
  memcpy(&found, slots + 8 * (from & 31), sizeof found);
  __syncwarp(mask);
  return found;
}
template <class T>
static inline T __shfl_sync(unsigned mask, T value, int from, int width = 32) {
  int lane = host_thread->lane;
  return host_exchange(mask, value, lane / width * width + from % width);
}
template <class T>
static inline T __shfl_xor_sync(unsigned mask, T value, int with, int width = 32) {
  int lane = host_thread->lane, from = lane ^ with;
  return host_exchange(mask, value, from / width <= lane / width ? from : lane);
}
template <class T>
static inline T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32) {
  int lane = host_thread->lane, from = lane + int(by);
  return host_exchange(mask, value, from / width == lane / width ? from : lane);
}
template <class T>
static inline T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32) {
  int lane = host_thread->lane, from = lane - int(by);
  return host_exchange(mask, value, from >= lane / width * width ? from : lane);
}
static inline unsigned __ballot_sync(unsigned mask, int predicate) {
  unsigned found = 0;
  uint64_t* slots = host_thread->warp_slots;
  slots[8 * host_thread->lane] = predicate != 0;
  __syncwarp(mask);
  for (int lane = 0; lane < 32; lane++)
    if (mask >> lane & 1) found |= unsigned(slots[8 * lane]) << lane;
  __syncwarp(mask);
  return found;
}
static inline int __any_sync(unsigned mask, int p) { return __ballot_sync(mask, p) != 0; }
static inline int __all_sync(unsigned mask, int p) { return __ballot_sync(mask, p) == mask; }

// mma.sync.aligned.m16n8k16.row.col.f32: a lane has 8 numbers of A, 4 of B and 4 of C, as the PTX
// manual places them, and C += A B is summed in float32.
template <class S>
static inline void host_mma_m16n8k16(float* c, const unsigned* a, const unsigned* b) {
  char* slots = (char*)host_thread->warp_slots;
  auto number = [&](int lane, int place) {
    S found;
    memcpy(&found, slots + 64 * lane + 2 * place, 2);
    return float(found);
  };
  memcpy(slots + 64 * host_thread->lane, a, 16);
  memcpy(slots + 64 * host_thread->lane + 16, b, 8);
  __syncwarp();
  const int g = host_thread->lane / 4, q = host_thread->lane % 4;
  for (int i = 0; i < 4; i++) {
    const int half = i / 2, column = 2 * q + i % 2;  // of a row and a column of C
    for (int k = 0; k < 16; k++) {
      const int from = k % 8 / 2, place = k % 2;
      const int in_a = 2 * (half + k / 8 * 2) + place, in_b = 8 + 2 * (k / 8) + place;
      c[i] += number(4 * g + from, in_a) * number(4 * column + from, in_b);
    }
  }
  __syncwarp();
}

// ------------------------------------------------------------------------------- intrinsics

template <class To, class From>
static inline To host_bits(From value) {
  static_assert(sizeof(To) == sizeof(From), "bits are kept");
  To out;
  memcpy(&out, &value, sizeof out);
  return out;
}
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
static inline float __int_as_float(int x) { return host_bits<float>(x); }
static inline float __uint_as_float(unsigned x) { return host_bits<float>(x); }
static inline int __float_as_int(float x) { return host_bits<int>(x); }
static inline unsigned __float_as_uint(float x) { return host_bits<unsigned>(x); }
static inline double __longlong_as_double(long long x) { return host_bits<double>(x); }
static inline long long __double_as_longlong(double x) { return host_bits<long long>(x); }
static inline int __double2hiint(double x) { return int(__double_as_longlong(x) >> 32); }
static inline int __double2loint(double x) { return int(__double_as_longlong(x)); }
static inline double __hiloint2double(int high, int low) {
  return __longlong_as_double((long long)((uint64_t)(unsigned)high << 32 | (unsigned)low));
}
static inline unsigned __umulhi(unsigned x, unsigned y) { return uint64_t(x) * y >> 32; }
template <class T>
static inline T __ldg(const T* p) { return *p; }
template <class T>
static inline T __ldcg(const T* p) { return *p; }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
static inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
#define __expf(x) expf(x)
static inline float __fdividef(float x, float y) { return x / y; }
template <class T>
static inline T max(T a, T b) { return a > b ? a : b; }
template <class T>
static inline T min(T a, T b) { return a < b ? a : b; }
using std::abs;
using std::isfinite;
using std::isinf;
using std::isnan;
using std::signbit;

struct __align__(16) float4 { float x, y, z, w; };
struct __align__(8) float2 { float x, y; };
struct __align__(16) uint4 { unsigned x, y, z, w; };
struct __align__(8) uint2 { unsigned x, y; };
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline float2 make_float2(float x, float y) { return {x, y}; }

// Threads run one at a time, so that anything is atomic.
#define HOST_ATOMIC(name, T, changed)        \
  static inline T name(T* p, T v) {          \
    const T was = *p;                        \
    *p = changed;                            \
    return was;                              \
  }
#define HOST_ATOMIC_NUMBER(T)            \
  HOST_ATOMIC(atomicAdd, T, T(was + v))  \
  HOST_ATOMIC(atomicExch, T, v)
#define HOST_ATOMIC_INTEGER(T)                     \
  HOST_ATOMIC_NUMBER(T)                            \
  HOST_ATOMIC(atomicSub, T, T(was - v))            \
  HOST_ATOMIC(atomicMax, T, was < v ? v : was)     \
  HOST_ATOMIC(atomicMin, T, v < was ? v : was)     \
  HOST_ATOMIC(atomicAnd, T, T(was & v))            \
  HOST_ATOMIC(atomicOr, T, T(was | v))             \
  HOST_ATOMIC(atomicXor, T, T(was ^ v))
typedef unsigned long long host_unsigned64;
HOST_ATOMIC_NUMBER(float)
HOST_ATOMIC_NUMBER(double)
HOST_ATOMIC_INTEGER(int)
HOST_ATOMIC_INTEGER(unsigned)
HOST_ATOMIC_INTEGER(host_unsigned64)
template <class T>
static inline T atomicCAS(T* p, T expected, T value) {
  const T was = *p;
  if (was == expected) *p = value;
  return was;
}

// --------------------------------------------------------------------- kernels as functions

extern "C" char __start_host_shared[] __attribute__((weak));
extern "C" char __stop_host_shared[] __attribute__((weak));

template <class T>
using host_value = std::remove_const_t<std::remove_reference_t<T>>;

// The arguments of a kernel, one after another as its own types are aligned.
template <class... A>
struct HostArguments {
  template <std::size_t N>
  static constexpr std::size_t place() {
    constexpr std::size_t sizes[] = {sizeof(host_value<A>)..., 0};
    constexpr std::size_t aligned[] = {alignof(host_value<A>)..., 1};
    std::size_t at = 0;
    for (std::size_t i = 0;; i++) {
      at = (at + aligned[i] - 1) / aligned[i] * aligned[i];
      if (i == N) return at;
      at += sizes[i];
    }
  }
  template <std::size_t... I>
  static void copy(void** from, char* to, std::index_sequence<I...>) {
    (memcpy(to + place<I>(), from[I], sizeof(host_value<A>)), ...);
  }
  template <std::size_t... I>
  static void call(void (*f)(A...), const char* at, std::index_sequence<I...>) {
    f(*(host_value<A>*)(at + place<I>())...);
  }
};

template <auto f>
struct HostKernel;
template <class... A, void (*f)(A...)>
struct HostKernel<f> {
  using Arguments = HostArguments<A...>;
  static constexpr auto all = std::index_sequence_for<A...>();
  static constexpr std::size_t size = Arguments::template place<sizeof...(A)>();
  // Of CuPy's arrays the pointer is the first field; others hold what nobody has set. The last
  // entry is that of no argument.
  static constexpr std::size_t none = ~std::size_t(0);
  template <std::size_t... I>
  static constexpr std::array<std::size_t, sizeof...(A) + 1> begin(std::index_sequence<I...>) {
    return {(sizeof(host_value<A>) < sizeof(void*) ? none : Arguments::template place<I>())...,
            none};
  }
  static constexpr auto words() { return begin(all); }
  static void copy(void** from, void* to) { Arguments::copy(from, (char*)to, all); }
  static void run(const void* given) { Arguments::call(f, (const char*)given, all); }
  static void run_block(const void* given, bool backwards) {
    const cuda_on_host::Dim many = blockDim;
    const unsigned threads = many.x * many.y * many.z;
    for (unsigned i = 0; i < threads; i++) {
      const unsigned n = backwards ? threads - 1 - i : i;
      threadIdx = {n % many.x, n / many.x % many.y, n / many.x / many.y};
      host_thread->lane = n % 32;
      run(given);
    }
  }
};

// (A variable of a template would be one for all modules of the process.)
#define CUDA_ON_HOST_KERNEL(f, waits, most, cluster)                                          \
  static constexpr auto host_words_##f = HostKernel<f>::words();                               \
  extern "C" const cuda_on_host::Kernel cuda_on_host_kernel_##f = {                            \
      #f, HostKernel<f>::size, HostKernel<f>::copy, host_words_##f.data(),                     \
      host_words_##f.size(), HostKernel<f>::run, HostKernel<f>::run_block,               \
      &host_thread, waits, most, cluster,                                                      \
      __start_host_shared, __stop_host_shared};
