// __half, as far as kernels use it.
#pragma once

#include "host_half.h"

struct __half_raw {
  unsigned short x;
};

struct __half {
  unsigned short bits;
  __half() = default;
  __half(float value) : bits(HostHalf<5, 10>::from(value)) {}
  __half(double value) : bits(HostHalf<5, 10>::from(value)) {}
  __half(int value) : bits(HostHalf<5, 10>::from(value)) {}
  explicit __half(bool value) : bits(HostHalf<5, 10>::from(value)) {}
  explicit __half(unsigned value) : bits(HostHalf<5, 10>::from(value)) {}
  explicit __half(long long value) : bits(HostHalf<5, 10>::from(double(value))) {}
  explicit __half(unsigned long long value) : bits(HostHalf<5, 10>::from(double(value))) {}
  __half(__half_raw raw) : bits(raw.x) {}
  operator float() const { return HostHalf<5, 10>::to_float(bits); }
  operator __half_raw() const { return {bits}; }
};
typedef __half half;

static inline unsigned short __half_as_ushort(__half value) { return value.bits; }
static inline __half __ushort_as_half(unsigned short bits) { return __half(__half_raw{bits}); }
static inline float __half2float(__half value) { return float(value); }
static inline __half __float2half(float value) { return __half(value); }
static inline __half __float2half_rn(float value) { return __half(value); }
static inline __half __double2half(double value) { return __half(value); }
