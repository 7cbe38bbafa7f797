// Arithmetic that must round after every operation. Host code is built with -ffp-contract=off; on a device
// the intrinsics forbid the fusing of a * b + c whatever flags the code is compiled with.
#pragma once

#include "arith.h"
#include "portable.h"

namespace anatpaste {

ANATPASTE_HD double mul_rn(double a, double b) {
#if defined(__CUDA_ARCH__)
  return __dmul_rn(a, b);
#else
  return a * b;
#endif
}

ANATPASTE_HD double add_rn(double a, double b) {
#if defined(__CUDA_ARCH__)
  return __dadd_rn(a, b);
#else
  return a + b;
#endif
}

ANATPASTE_HD double div_rn(double a, double b) {
#if defined(__CUDA_ARCH__)
  return __ddiv_rn(a, b);
#else
  return a / b;
#endif
}

ANATPASTE_HD float mul_rn(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

ANATPASTE_HD float add_rn(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fadd_rn(a, b);
#else
  return a + b;
#endif
}

// Nearest integer, halves to even, for 0 <= x < 2^31. Above 2^52 doubles are whole
// numbers, so the addition rounds.
ANATPASTE_HD int32_t round_half_even(double x) {
  const double shift = 6755399441055744.0;  // 1.5 * 2^52
  return static_cast<int32_t>(add_rn(add_rn(x, shift), -shift));
}

}  // namespace anatpaste
