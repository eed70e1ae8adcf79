// The products of cuBLAS that CuPy calls: column-major, each sum in the order of its terms, in the
// type that cuBLAS would sum in.
#include <algorithm>
#include <complex>
#include <cstring>
#include <type_traits>
#include <vector>

#include "device.h"
#include "include/cuda_bf16.h"
#include "include/cuda_fp16.h"

using namespace host;

namespace {

struct Handle {
  int device;
  void* stream = nullptr;
  // Memory that its caller lends it until the stream is set again; without, it has its own.
  void* workspace = nullptr;
  size_t workspace_size = 0;
};

constexpr size_t workspace_least = 16 << 10, workspace_used = 64 << 10, workspace_alignment = 256;

template <class T>
T conjugate(T x) { return x; }
template <class T>
std::complex<T> conjugate(std::complex<T> x) { return std::conj(x); }

template <class T, class Sum, class Out>
void product(int ta, int tb, long m, long n, long k, Sum alpha, const T* a, long lda, const T* b,
             long ldb, Sum beta, Out* c, long ldc) {
  std::vector<Sum> column(m);
  for (long j = 0; j < n; j++) {
    std::fill(column.begin(), column.end(), Sum(0));
    for (long l = 0; l < k; l++) {
      Sum factor = Sum(tb ? b[l * ldb + j] : b[j * ldb + l]);
      if (tb == 2) factor = conjugate(factor);
      if (ta)
        for (long i = 0; i < m; i++) {
          Sum other = Sum(a[i * lda + l]);
          column[i] += (ta == 2 ? conjugate(other) : other) * factor;
        }
      else
        for (long i = 0; i < m; i++) column[i] += Sum(a[l * lda + i]) * factor;
    }
    for (long i = 0; i < m; i++) {
      Out& out = c[j * ldc + i];
      out = Out(beta == Sum(0) ? alpha * column[i] : alpha * column[i] + beta * Sum(out));
    }
  }
}

template <class T, class S, class O>
struct Types {
  typedef T In;
  typedef S Sum;
  typedef O Out;
};

// Several products, each so many numbers after the one before.
struct Batch {
  long long a, b, c;
  int count;
};

template <class T, class Sum, class Out = T>
int gemm(void* handle, int ta, int tb, int m, int n, int k, const void* alpha, const void* a,
         int lda, const void* b, int ldb, const void* beta, void* c, int ldc,
         Batch batch = {0, 0, 0, 1}) {
  auto* own = (Handle*)handle;
  Stream* stream = stream_of(own->stream);
  if (!stream || stream->device != current_device || own->device != current_device) {
    refuse(invalid_handle, "a product runs on a device that is not the current one");
    return 14;
  }
  if (m < 0 || n < 0 || k < 0 || lda < std::max(1, ta ? k : m) ||
      ldb < std::max(1, tb ? n : k) || ldc < std::max(1, m))
    return 7;
  for (const void* each : {a, b, (const void*)c})
    if (!reachable(each, current_device)) {
      fail(illegal_address, "a product takes an array of a device that cannot be reached");
      return 14;
    }
  // Ordinary products may use the handle's own workspace while the graph runs.
  if (stream->capture && own->workspace_size < workspace_least) {
    stream->capture->broken = true;
    refuse(capture_isolation, "a captured product has no workspace of its own");
    return 14;
  }
  report("gemm", "", long(m) * n * k * batch.count, stream);
  void* workspace = own->workspace;
  size_t used = std::min(own->workspace_size, workspace_used);
  int status = enqueue(stream, [=, x = *(const Sum*)alpha, y = *(const Sum*)beta] {
    if (used && !dry) memset(workspace, 0xff, used);  // whoever holds numbers there loses them
    for (int i = 0; i < batch.count && !dry; i++)
      product<T, Sum, Out>(ta, tb, m, n, k, x, (const T*)a + i * batch.a, lda,
                           (const T*)b + i * batch.b, ldb, y, (Out*)c + i * batch.c, ldc);
  });
  return status ? 14 : 0;
}

typedef std::complex<float> C;
typedef std::complex<double> Z;

}  // namespace

extern "C" {

int cublasCreate_v2(void** out) { *out = new Handle{current_device}; return 0; }
int cublasDestroy_v2(void* handle) { delete (Handle*)handle; return 0; }
int cublasGetVersion_v2(void*, int* out) { *out = 130000; return 0; }
int cublasSetStream_v2(void* handle, void* stream) {
  auto* own = (Handle*)handle;
  own->stream = stream, own->workspace = nullptr, own->workspace_size = 0;
  return 0;
}
int cublasGetStream_v2(void* handle, void** out) { *out = ((Handle*)handle)->stream; return 0; }
int cublasSetMathMode(void*, int) { return 0; }
int cublasGetMathMode(void*, int* out) { *out = 0; return 0; }
// Factors in the memory of the device are not supported.
int cublasSetPointerMode_v2(void*, int mode) { return mode ? 15 : 0; }
int cublasGetPointerMode_v2(void*, int* out) { *out = 0; return 0; }
int cublasSetWorkspace_v2(void* handle, void* workspace, size_t size) {
  auto* own = (Handle*)handle;
  if ((uintptr_t)workspace % workspace_alignment || check_range(workspace, size)) return 7;
  own->workspace = workspace, own->workspace_size = size;
  return 0;
}

#define GEMM(N, T)                                                                            \
  int cublas##N##gemm_v2(void* h, int ta, int tb, int m, int n, int k, const T* x, const T* a, \
                         int lda, const T* b, int ldb, const T* y, T* c, int ldc) {            \
    return gemm<T, T>(h, ta, tb, m, n, k, x, a, lda, b, ldb, y, c, ldc);                       \
  }
GEMM(S, float)
GEMM(D, double)
GEMM(C, C)
GEMM(Z, Z)

// Types: 0 float, 1 double, 2 half, 4 complex float, 5 complex double, 14 bfloat16.
int cublasGemmStridedBatchedEx(void* h, int ta, int tb, int m, int n, int k, const void* x,
                               const void* a, int a_type, int lda, long long a_step, const void* b,
                               int b_type, int ldb, long long b_step, const void* y, void* c,
                               int c_type, int ldc, long long c_step, int count, int compute, int) {
  if (a_type != b_type || compute == 64 || compute == 65) return 15;  // sums in half precision
  Batch batch{a_step, b_step, c_step, count};
  auto run = [&](auto of) {
    typedef decltype(of) F;
    return gemm<typename F::In, typename F::Sum, typename F::Out>(
        h, ta, tb, m, n, k, x, a, lda, b, ldb, y, c, ldc, batch);
  };
  if (c_type == 0 && a_type == 2) return run(Types<__half, float, float>());
  if (c_type == 0 && a_type == 14) return run(Types<__nv_bfloat16, float, float>());
  if (a_type != c_type) return 15;
  switch (a_type) {
    case 0: return run(Types<float, float, float>());
    case 1: return run(Types<double, double, double>());
    case 2: return run(Types<__half, float, __half>());
    case 4: return run(Types<C, C, C>());
    case 5: return run(Types<Z, Z, Z>());
    case 14: return run(Types<__nv_bfloat16, float, __nv_bfloat16>());
  }
  return 15;
}
int cublasGemmEx(void* h, int ta, int tb, int m, int n, int k, const void* x, const void* a,
                 int a_type, int lda, const void* b, int b_type, int ldb, const void* y, void* c,
                 int c_type, int ldc, int compute, int algorithm) {
  return cublasGemmStridedBatchedEx(h, ta, tb, m, n, k, x, a, a_type, lda, 0, b, b_type, ldb, 0, y,
                                    c, c_type, ldc, 0, 1, compute, algorithm);
}

unsigned long cublasLtGetVersion(void) { return 130000; }

}  // extern "C"
