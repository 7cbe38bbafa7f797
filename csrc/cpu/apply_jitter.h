// Brightness and contrast along a run of pixels; in and out may be the same.
#pragma once

#include "common/blend.h"

namespace anatpaste {
namespace cpu {

template <typename T>
void apply_jitter(const T* in, int64_t count, const Jitter& jitter, T* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = from_float<T>(jittered<T>(jitter, to_float(in[i])));
}

// 256 results serve every pixel.
inline void apply_jitter(const uint8_t* in, int64_t count, const Jitter& jitter, uint8_t* out) {
  uint8_t table[256];
  for (int level = 0; level < 256; ++level) {
    table[level] = from_float<uint8_t>(jittered<uint8_t>(jitter, static_cast<float>(level)));
  }
  for (int64_t i = 0; i < count; ++i) out[i] = table[in[i]];
}

}  // namespace cpu
}  // namespace anatpaste
