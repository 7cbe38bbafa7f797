// What the multi-launch path gathers of each image across blocks. All of it only grows from 0, so one memset
// prepares it.
#pragma once

#include "otsu_split.cuh"

namespace anatpaste {

// Smallest and largest of values 0 .. 65535.
struct Extremes {
  uint32_t below_top;  // 65535 - smallest
  uint32_t largest;
};

struct ImageStats {
  Extremes depths;  // 16-bit pixels
  Extremes levels;  // after CLAHE
  int32_t histogram[kOtsuBins];
};

constexpr int32_t kTop = 65535;

__device__ __forceinline__ Range range_of(const Extremes& extremes) {
  return {kTop - static_cast<int32_t>(extremes.below_top), static_cast<int32_t>(extremes.largest)};
}

// Notes the range of all threads of a block; the whole block calls it.
__device__ __forceinline__ void note_range(Extremes* extremes, const Range& own) {
  ANATPASTE_SHARED(int32_t, scratch, kRangeScratch);
  const Range range = block_range(own, scratch);
  if (threadIdx.x != 0 || range.low > range.high) return;
  atomic_max(&extremes->below_top, static_cast<uint32_t>(kTop - range.low));
  atomic_max(&extremes->largest, static_cast<uint32_t>(range.high));
}

// The threshold's bin of one image from its statistics, or -1 if all levels are one; a block of kOtsuBins
// threads or more.
__device__ __forceinline__ int32_t threshold_bin(const ImageStats& stats) {
  ANATPASTE_SHARED(int32_t, histogram, kOtsuBins);
  ANATPASTE_SHARED(SplitScratch, scratch, 1);
  if (threadIdx.x < kOtsuBins) histogram[threadIdx.x] = stats.histogram[threadIdx.x];
  sync_block();
  const int32_t bin = find_split(histogram, scratch);
  const Range levels = range_of(stats.levels);
  return levels.low == levels.high ? -1 : bin;
}

// An image cut into slices of pixels, one a block; blocks are numbered image * slices + slice.
constexpr int kSliceThreads = 256;
constexpr int32_t kSlicePixels = 16384;

struct Slices {
  int32_t pixels;  // of an image
  int32_t count;
};

inline Slices slices_of(int64_t pixels) {
  return {static_cast<int32_t>(pixels), static_cast<int32_t>(ceil_div(pixels, int64_t{kSlicePixels}))};
}

// This block's slice.
struct Slice {
  int64_t image;
  int32_t begin, pixels;
};

__device__ __forceinline__ Slice this_slice(const Slices& slices) {
  const int32_t image = static_cast<int32_t>(blockIdx.x) / slices.count;
  const int32_t begin = (static_cast<int32_t>(blockIdx.x) - image * slices.count) * kSlicePixels;
  return {image, begin, min_of(slices.pixels - begin, kSlicePixels)};
}

}  // namespace anatpaste
