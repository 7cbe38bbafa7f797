// What one warp or one block does together: ranges, sums by key, counting of runs, division by one divisor.
#pragma once

#include "../common/exact.h"
#include "device.h"

namespace anatpaste {

constexpr int kMaxWarps = 32;
constexpr int kRangeScratch = 2 * kMaxWarps;  // ints of shared memory that block_range needs

// Smallest and largest value.
struct Range {
  int32_t low, high;
};

__device__ __forceinline__ Range empty_range() { return {0x7fffffff, -0x7fffffff - 1}; }

__device__ __forceinline__ void widen(Range& range, int32_t value) {
  range.low = min_of(range.low, value);
  range.high = max_of(range.high, value);
}

__device__ __forceinline__ Range warp_range(const Range& own) {
  return {reduce_min(kFullMask, own.low), reduce_max(kFullMask, own.high)};
}

// The range of all threads' ranges, for every thread. scratch: kRangeScratch ints of shared memory, free
// again afterwards.
__device__ __forceinline__ Range block_range(const Range& own, int32_t* scratch) {
  const Range warp = warp_range(own);
  if (lane_id() == 0) {
    scratch[warp_id()] = warp.low;
    scratch[kMaxWarps + warp_id()] = warp.high;
  }
  sync_block();
  const int from = min_of(lane_id(), static_cast<int>(blockDim.x) / kWarpSize - 1);
  const Range block = warp_range({scratch[from], scratch[kMaxWarps + from]});
  sync_block();
  return block;
}

// Sum of the lanes below this one.
template <typename T>
__device__ __forceinline__ T warp_sum_below(T own) {
  T sum = own;
#pragma unroll
  for (int delta = 1; delta < kWarpSize; delta *= 2) {
    const T below = shfl_up(kFullMask, sum, delta);
    if (lane_id() >= delta) sum += below;
  }
  return sum - own;
}

// Counts runs of one bin in a register, so that a black border costs one atomic a run, not one a pixel.
struct RunCounter {
  int32_t bin = -1;
  int32_t length = 0;

  // `flush(bin, length)` books a run that has ended.
  template <typename Flush>
  __device__ __forceinline__ void add(int32_t next, const Flush& flush) {
    if (next != bin) {
      finish(flush);
      bin = next;
      length = 0;
    }
    ++length;
  }

  template <typename Flush>
  __device__ __forceinline__ void finish(const Flush& flush) const {
    if (length > 0) flush(bin, length);
  }
};

// Calls visit(key, members) once for each distinct key among the lanes with `active`; members: whether this
// lane has it. The whole warp calls it.
template <typename Visit>
__device__ __forceinline__ void for_each_key(bool active, uint32_t key, const Visit& visit) {
  unsigned rest = ballot(kFullMask, active);
  while (rest != 0) {
    const uint32_t current = shfl(kFullMask, key, ffs(rest) - 1);
    const bool member = active && key == current;
    visit(current, member);
    rest &= ~ballot(kFullMask, member);
  }
}

// n / divisor for 0 <= n < 2^31 and quotients below 2^20: a float32 guess is off by one at most.
struct UniformDivisor {
  int32_t divisor;
  float inverse;
};

ANATPASTE_HD UniformDivisor uniform_divisor(int32_t divisor) {
  return {divisor, div_rn(1.0f, static_cast<float>(divisor))};
}

ANATPASTE_HD int32_t divide(int32_t n, const UniformDivisor& by) {
  const int32_t guess = static_cast<int32_t>(mul_rn(static_cast<float>(n), by.inverse));
  const int32_t rest = n - guess * by.divisor;
  return guess + (rest >= by.divisor ? 1 : 0) - (rest < 0 ? 1 : 0);
}

}  // namespace anatpaste
