// The products of cuBLAS that CuPy calls: column-major, each sum in the order of its terms, in the
// type that cuBLAS would sum in.
#include <complex>
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
};

template <class T>
T conjugate(T x) { return x; }
template <class T>
std::complex<T> conjugate(std::complex<T> x) { return std::conj(x); }

template <class T, class Sum>
void product(int ta, int tb, long m, long n, long k, Sum alpha, const T* a, long lda, const T* b,
             long ldb, Sum beta, T* c, long ldc) {
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
      T& out = c[j * ldc + i];
      out = T(beta == Sum(0) ? alpha * column[i] : alpha * column[i] + beta * Sum(out));
    }
  }
}

template <class T, class Sum>
int gemm(void* handle, int ta, int tb, int m, int n, int k, const void* alpha, const void* a,
         int lda, const void* b, int ldb, const void* beta, void* c, int ldc) {
  auto* own = (Handle*)handle;
  Stream* stream = stream_of(own->stream);
  if (!stream || stream->device != current_device || own->device != current_device) {
    refuse(invalid_handle, "a product runs on a device that is not the current one");
    return 14;
  }
  for (const void* each : {a, b, (const void*)c})
    if (!reachable(each, current_device)) {
      fail(illegal_address, "a product takes an array of a device that cannot be reached");
      return 14;
    }
  report("gemm", "", long(m) * n * k, stream);
  int status = enqueue(stream, [=, x = *(const Sum*)alpha, y = *(const Sum*)beta] {
    if (!dry)
      product<T, Sum>(ta, tb, m, n, k, x, (const T*)a, lda, (const T*)b, ldb, y, (T*)c, ldc);
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
int cublasSetStream_v2(void* handle, void* stream) { ((Handle*)handle)->stream = stream; return 0; }
int cublasGetStream_v2(void* handle, void** out) { *out = ((Handle*)handle)->stream; return 0; }
int cublasSetMathMode(void*, int) { return 0; }
int cublasGetMathMode(void*, int* out) { *out = 0; return 0; }
int cublasSetPointerMode_v2(void*, int) { return 0; }
int cublasGetPointerMode_v2(void*, int* out) { *out = 0; return 0; }
int cublasSetWorkspace_v2(void*, void*, size_t) { return 0; }

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
int cublasGemmEx(void* h, int ta, int tb, int m, int n, int k, const void* x, const void* a,
                 int a_type, int lda, const void* b, int b_type, int ldb, const void* y, void* c,
                 int c_type, int ldc, int, int) {
  if (a_type != b_type || a_type != c_type) return 15;
  switch (a_type) {
    case 0: return gemm<float, float>(h, ta, tb, m, n, k, x, a, lda, b, ldb, y, c, ldc);
    case 1: return gemm<double, double>(h, ta, tb, m, n, k, x, a, lda, b, ldb, y, c, ldc);
    case 2: return gemm<__half, float>(h, ta, tb, m, n, k, x, a, lda, b, ldb, y, c, ldc);
    case 4: return gemm<C, C>(h, ta, tb, m, n, k, x, a, lda, b, ldb, y, c, ldc);
    case 5: return gemm<Z, Z>(h, ta, tb, m, n, k, x, a, lda, b, ldb, y, c, ldc);
    case 14:
      return gemm<__nv_bfloat16, float>(h, ta, tb, m, n, k, x, a, lda, b, ldb, y, c, ldc);
  }
  return 15;
}

unsigned long cublasLtGetVersion(void) { return 130000; }

}  // extern "C"
