// Where a kernel gets the three numbers that a draw depends on: seed, sample and step.
#pragma once

#include "../common/portable.h"
#include "device.h"

namespace anatpaste {

// seed and step come by value from the host, or from device memory, where a CUDA graph can advance them.
struct RandomSource {
  const int64_t* index;    // (B,), the samples' numbers
  const int64_t* seed_at;  // null: use seed
  const int64_t* step_at;  // null: use step
  int64_t seed, step;

  __device__ __forceinline__ int64_t seed_value() const { return seed_at != nullptr ? *seed_at : seed; }
  __device__ __forceinline__ uint32_t step_value() const {
    return static_cast<uint32_t>(step_at != nullptr ? *step_at : step);
  }
};

}  // namespace anatpaste
