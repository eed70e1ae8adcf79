// Floating types of 16 bits: rounded to nearest, ties to even, from any wider one at once.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

template <int exponent_bits, int fraction_bits>
struct HostHalf {
  unsigned short x;

  static constexpr int bias = (1 << (exponent_bits - 1)) - 1;

  static unsigned short from(double value) {
    const unsigned short sign = std::signbit(value) ? 0x8000u : 0;
    const unsigned short infinity = ((1u << exponent_bits) - 1) << fraction_bits;
    value = std::fabs(value);
    if (value != value) return infinity | (1u << (fraction_bits - 1));
    if (std::isinf(value)) return sign | infinity;
    if (value == 0) return sign;
    int exponent = std::ilogb(value);
    if (exponent < 1 - bias) exponent = 1 - bias;  // subnormal
    // Units of the last place; what is rounded up may have an exponent more, which adds up.
    const double units = std::nearbyint(std::ldexp(value, fraction_bits - exponent));
    const long whole = long(units) + (long(exponent + bias - 1) << fraction_bits);
    return sign | (whole >= infinity ? infinity : (unsigned short)whole);
  }

  static float to_float(unsigned short bits) {
    if (exponent_bits == 8) {
      const uint32_t wide = uint32_t(bits) << 16;
      float out;
      std::memcpy(&out, &wide, 4);
      return out;
    }
    const int exponent = (bits >> fraction_bits) & ((1 << exponent_bits) - 1);
    const int fraction = bits & ((1 << fraction_bits) - 1);
    float found;
    if (exponent == (1 << exponent_bits) - 1)
      found = fraction ? NAN : INFINITY;
    else
      found = std::ldexp(float(exponent ? fraction + (1 << fraction_bits) : fraction),
                         (exponent ? exponent : 1) - bias - fraction_bits);
    return bits & 0x8000u ? -found : found;
  }
};
