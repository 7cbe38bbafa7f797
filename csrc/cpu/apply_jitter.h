// Brightness and contrast along a run of pixels; in and out may be the same.
#pragma once

#include "common/blend.h"
#include "cpu/simd/kernels.h"

namespace anatpaste {
namespace cpu {

template <typename T>
void apply_jitter(const T* in, int64_t count, const Jitter& jitter, T* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = from_float<T>(jittered<T>(jitter, to_float(in[i])));
}

inline void apply_jitter(const uint8_t* in, int64_t count, const Jitter& jitter, uint8_t* out) {
  kernels().jitter8(in, count, jitter, out);
}

}  // namespace cpu
}  // namespace anatpaste
