// __nv_bfloat16, as far as kernels use it.
#pragma once

#include "host_half.h"

struct __nv_bfloat16_raw {
  unsigned short x;
};

struct __nv_bfloat16 {
  unsigned short bits;
  __nv_bfloat16() = default;
  __nv_bfloat16(float value) : bits(HostHalf<8, 7>::from(value)) {}
  __nv_bfloat16(double value) : bits(HostHalf<8, 7>::from(value)) {}
  __nv_bfloat16(int value) : bits(HostHalf<8, 7>::from(value)) {}
  __nv_bfloat16(__nv_bfloat16_raw raw) : bits(raw.x) {}
  operator float() const { return HostHalf<8, 7>::to_float(bits); }
  bool operator==(__nv_bfloat16 other) const { return float(*this) == float(other); }
};

static inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 value) { return value.bits; }
static inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
  return __nv_bfloat16(__nv_bfloat16_raw{bits});
}
static inline float __bfloat162float(__nv_bfloat16 value) { return float(value); }
static inline __nv_bfloat16 __float2bfloat16(float value) { return __nv_bfloat16(value); }
static inline __nv_bfloat16 __float2bfloat16_rn(float value) { return __nv_bfloat16(value); }
static inline bool __hisnan(__nv_bfloat16 value) { return float(value) != float(value); }
static inline bool __hisinf(__nv_bfloat16 value) { return std::isinf(float(value)); }
