// Otsu's threshold from a histogram in shared memory, by the first 256 threads of a block.
#pragma once

#include "../common/otsu.h"
#include "block_ops.cuh"

namespace anatpaste {

// Shared memory of find_split.
struct SplitScratch {
  static constexpr int kWarps = kOtsuBins / kWarpSize;
  int64_t counts[kWarps];
  int64_t moments[kWarps];
  uint64_t criteria[kWarps];
  int32_t bins[kWarps];
};

// otsu_bin by a known divisor.
struct OtsuScale {
  int32_t low;
  UniformDivisor range;
};

__device__ __forceinline__ OtsuScale otsu_scale(const Range& levels) {
  return {levels.low, uniform_divisor(max_of(levels.high - levels.low, int32_t{1}))};
}

__device__ __forceinline__ int32_t otsu_bin_of(int32_t level, const OtsuScale& scale) {
  return min_of(divide((level - scale.low) * kOtsuBins, scale.range), kOtsuBins - 1);
}

// A bin after which to split, and its criterion as bits: of two that are not negative, the larger double has
// the larger ones.
struct Split {
  uint64_t criterion;
  int32_t bin;
};

// The larger criterion, and the first bin of equals.
__device__ __forceinline__ Split better(const Split& a, const Split& b) {
  const bool second = b.criterion > a.criterion || (b.criterion == a.criterion && b.bin < a.bin);
  return second ? b : a;
}

__device__ __forceinline__ Split best_of_warp(Split own) {
#pragma unroll
  for (int lanes = kWarpSize / 2; lanes > 0; lanes /= 2) {
    const Split other = {shfl_xor(kFullMask, own.criterion, lanes), shfl_xor(kFullMask, own.bin, lanes)};
    own = better(own, other);
  }
  return own;
}

// The criterion of splitting after bin threadIdx.x, given the sums of count and moment within the warps.
__device__ __forceinline__ Split split_after(int64_t count, int64_t moment, const SplitScratch* scratch) {
  int64_t all_count = 0, all_moment = 0;
  for (int warp = 0; warp < SplitScratch::kWarps; ++warp) {
    if (warp < warp_id()) {
      count += scratch->counts[warp];
      moment += scratch->moments[warp];
    }
    all_count += scratch->counts[warp];
    all_moment += scratch->moments[warp];
  }
  const int32_t bin = static_cast<int32_t>(threadIdx.x);
  // After the last bin there is no second class.
  if (bin + 1 == kOtsuBins) return {0, bin};
  return {bit_cast<uint64_t>(otsu_criterion(count, moment, all_count, all_moment)), bin};
}

// The first bin after which a split has the largest between-class variance, for every thread; the whole block
// calls it. histogram: kOtsuBins counts, the first and the last bin not empty.
__device__ __forceinline__ int32_t find_split(const int32_t* histogram, SplitScratch* scratch) {
  const int32_t bin = static_cast<int32_t>(threadIdx.x);
  const bool active = bin < kOtsuBins;
  int64_t count = 0, moment = 0;
  if (active) {
    const int64_t own = histogram[bin], weighted = own * otsu_centre(bin);
    count = own + warp_sum_below(own);
    moment = weighted + warp_sum_below(weighted);
    if (lane_id() == kWarpSize - 1) {
      scratch->counts[warp_id()] = count;
      scratch->moments[warp_id()] = moment;
    }
  }
  sync_block();
  if (active) {
    const Split best = best_of_warp(split_after(count, moment, scratch));
    if (lane_id() == 0) {
      scratch->criteria[warp_id()] = best.criterion;
      scratch->bins[warp_id()] = best.bin;
    }
  }
  sync_block();
  Split best = {scratch->criteria[0], scratch->bins[0]};
  for (int warp = 1; warp < SplitScratch::kWarps; ++warp) {
    best = better(best, {scratch->criteria[warp], scratch->bins[warp]});
  }
  sync_block();
  return best.bin;
}

}  // namespace anatpaste
