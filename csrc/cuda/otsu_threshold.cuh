// Otsu's threshold of levels in global memory: range, histogram, split. Only otsu_threshold.cu includes this.
#pragma once

#include "image_stats.cuh"

namespace anatpaste {

__global__ void __launch_bounds__(kSliceThreads)
    level_range_kernel(const int16_t* __restrict__ levels,  // (B, H, W)
                       ImageStats* __restrict__ stats,      // (B,), zeroed
                       Slices slices) {
  const Slice slice = this_slice(slices);
  const int16_t* pixels = levels + slice.image * slices.pixels + slice.begin;
  Range range = empty_range();
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < slice.pixels; i += kSliceThreads)
    widen(range, pixels[i]);
  note_range(&stats[slice.image].levels, range);
}

__global__ void __launch_bounds__(kSliceThreads)
    level_histogram_kernel(const int16_t* __restrict__ levels,  // (B, H, W)
                           ImageStats* __restrict__ stats,      // (B,), with the levels' range
                           Slices slices) {
  ANATPASTE_SHARED(int32_t, histogram, kOtsuBins);
  const Slice slice = this_slice(slices);
  for (int i = static_cast<int>(threadIdx.x); i < kOtsuBins; i += kSliceThreads) histogram[i] = 0;
  sync_block();
  const OtsuScale scale = otsu_scale(range_of(stats[slice.image].levels));
  const auto flush = [&](int32_t bin, int32_t length) { atomic_add(&histogram[bin], length); };
  const int16_t* pixels = levels + slice.image * slices.pixels + slice.begin;
  RunCounter run;
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < slice.pixels; i += kSliceThreads) {
    run.add(otsu_bin_of(pixels[i], scale), flush);
  }
  run.finish(flush);
  sync_block();
  for (int i = static_cast<int>(threadIdx.x); i < kOtsuBins; i += kSliceThreads) {
    if (histogram[i] > 0) atomic_add(&stats[slice.image].histogram[i], histogram[i]);
  }
}

__global__ void __launch_bounds__(kOtsuBins)
    otsu_split_kernel(const ImageStats* __restrict__ stats,  // (B,)
                      int32_t* __restrict__ thresholds) {    // (B, 3): low, high, bin
  const int32_t bin = threshold_bin(stats[blockIdx.x]);
  const Range levels = range_of(stats[blockIdx.x].levels);
  if (threadIdx.x != 0) return;
  int32_t* threshold = thresholds + static_cast<int64_t>(blockIdx.x) * 3;
  threshold[0] = levels.low;
  threshold[1] = levels.high;
  threshold[2] = bin;
}

}  // namespace anatpaste
