// One header for code that g++, nvcc and NVRTC all compile: the host/device marker and fixed-width integers.
#pragma once

#if defined(__CUDACC_RTC__)
// NVRTC brings no standard headers; these are the widths of every platform CUDA runs on.
using int8_t = signed char;
using uint8_t = unsigned char;
using int16_t = short;
using uint16_t = unsigned short;
using int32_t = int;
using uint32_t = unsigned int;
using int64_t = long long;
using uint64_t = unsigned long long;
#else
#include <cstdint>
#endif

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define ANATPASTE_HD __host__ __device__ __forceinline__
#else
#define ANATPASTE_HD inline __attribute__((always_inline))
#endif

namespace anatpaste {

template <typename T>
ANATPASTE_HD T min_of(T a, T b) {
  return b < a ? b : a;
}

template <typename T>
ANATPASTE_HD T max_of(T a, T b) {
  return a < b ? b : a;
}

template <typename T>
ANATPASTE_HD T clamp_to(T value, T low, T high) {
  return min_of(max_of(value, low), high);
}

// ceil(a / b) for a >= 0, b > 0.
template <typename T>
ANATPASTE_HD T ceil_div(T a, T b) {
  return (a + b - 1) / b;
}

}  // namespace anatpaste
