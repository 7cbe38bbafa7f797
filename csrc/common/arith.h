// Arithmetic with one result on every machine: no libm, and no product that a compiler may or may not fuse
// into a sum.
#pragma once

#include "portable.h"

namespace anatpaste {

ANATPASTE_HD uint32_t float_bits(float value) {
#if defined(__CUDA_ARCH__)
  return __float_as_uint(value);
#else
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
#endif
}

ANATPASTE_HD float bits_float(uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits);
#else
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
#endif
}

// a * b + c, rounded once.
ANATPASTE_HD float fma_rn(float a, float b, float c) {
#if defined(__CUDA_ARCH__)
  return __fmaf_rn(a, b, c);
#else
  return __builtin_fmaf(a, b, c);
#endif
}

ANATPASTE_HD float sqrt_rn(float value) {
#if defined(__CUDA_ARCH__)
  return __fsqrt_rn(value);
#else
  return __builtin_sqrtf(value);
#endif
}

ANATPASTE_HD float div_rn(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fdiv_rn(a, b);
#else
  return a / b;
#endif
}

// e^x for |x| <= 87, within 2 ulp: x = n ln 2 + r, |r| <= ln(2) / 2, a degree-7 Taylor sum for e^r, and 2^n
// by its bits.
ANATPASTE_HD float exp_exact(float x) {
  const float scaled = x * 1.44269504f;
  const int32_t n = static_cast<int32_t>(scaled + (scaled < 0.0f ? -0.5f : 0.5f));
  const float minus_n = static_cast<float>(-n);
  // ln 2 in two parts; the first has so few bits that its product with n is exact.
  const float r = fma_rn(minus_n, 1.42860677e-6f, fma_rn(minus_n, 0.693145752f, x));
  float sum = 1.0f / 5040.0f;
  sum = fma_rn(sum, r, 1.0f / 720.0f);
  sum = fma_rn(sum, r, 1.0f / 120.0f);
  sum = fma_rn(sum, r, 1.0f / 24.0f);
  sum = fma_rn(sum, r, 1.0f / 6.0f);
  sum = fma_rn(sum, r, 0.5f);
  sum = fma_rn(sum, r, 1.0f);
  sum = fma_rn(sum, r, 1.0f);
  return sum * bits_float(static_cast<uint32_t>(n + 127) << 23);
}

}  // namespace anatpaste
