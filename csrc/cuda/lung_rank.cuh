// Counts the set pixels of a mask, and finds the k-th of them in raster order, by popcounts and prefix sums.
#pragma once

#include "device.h"
#include "pixel_run.cuh"

namespace anatpaste {

// The search is written for blocks of 32 warps: one prefix sum over the lanes of a warp covers all of them.
constexpr int kRankWarps = 32;
constexpr int32_t kPixelsPerWarp = 16 * kWarpSize;
// A range this short is searched by one warp alone: the loads of eight steps cost
// less than one more barrier round.
constexpr int32_t kLastRange = 8 * kPixelsPerWarp;

// Bit 7 of each byte that is not 0.
__device__ __forceinline__ uint32_t set_bytes(uint32_t word) {
  return (((word & 0x7F7F7F7Fu) + 0x7F7F7F7Fu) | word) & 0x80808080u;
}

// Set pixels among begin .. begin + 15, as far as they lie before `end`.
__device__ __forceinline__ int32_t count_group(const uint8_t* mask, int32_t begin, int32_t end) {
  if (begin + 16 <= end && misalignment(mask + begin) == 0) {
    const uint4 words = load16(mask + begin);
    return popc(set_bytes(words.x)) + popc(set_bytes(words.y)) + popc(set_bytes(words.z)) +
           popc(set_bytes(words.w));
  }
  int32_t count = 0;
#pragma unroll 1
  for (int32_t i = begin; i < min_of(begin + 16, end); ++i) count += mask[i] != 0;
  return count;
}

__device__ __forceinline__ int32_t inclusive_sum(int32_t value) {
#pragma unroll
  for (int distance = 1; distance < kWarpSize; distance *= 2) {
    const int32_t below = shfl_up(kFullMask, value, distance);
    if (lane_id() >= distance) value += below;
  }
  return value;
}

// Pixels begin .. end - 1, in which the pixel sought is number `rank`.
struct RankRange {
  int32_t begin, end, rank;

  // Each warp's share, whole groups of 512 pixels.
  __device__ __forceinline__ int32_t piece() const {
    return ceil_div(ceil_div(end - begin, kRankWarps), kPixelsPerWarp) * kPixelsPerWarp;
  }
};

// counts[w] = set pixels in warp w's share. A barrier must follow.
__device__ __forceinline__ void count_pieces(const uint8_t* mask, const RankRange& range, int32_t* counts) {
  const int32_t piece = range.piece();
  // In 64 bits, as 32 shares of whole groups can end beyond 2^31.
  const int64_t begin = range.begin + int64_t{piece} * warp_id();
  const int64_t end = min_of<int64_t>(begin + piece, range.end);
  int32_t count = 0;
#pragma unroll 4
  for (int64_t i = begin + 16 * lane_id(); i < end; i += kPixelsPerWarp) {
    count += count_group(mask, static_cast<int32_t>(i), static_cast<int32_t>(end));
  }
  count = reduce_add(kFullMask, count);
  if (lane_id() == 0) counts[warp_id()] = count;
}

// Narrows the range to the share that holds the pixel sought; all threads come to the same result.
__device__ __forceinline__ RankRange narrowed(const RankRange& range, const int32_t* counts) {
  const int32_t count = counts[lane_id()];
  const int32_t up_to_here = inclusive_sum(count);
  const int32_t share = ffs(ballot(kFullMask, up_to_here > range.rank)) - 1;
  const int32_t before = shfl(kFullMask, up_to_here - count, share);
  const int32_t begin = range.begin + share * range.piece();
  return {begin, static_cast<int32_t>(min_of<int64_t>(int64_t{begin} + range.piece(), range.end)),
          range.rank - before};
}

// The search's end, by one warp: the lane that holds the pixel returns its number, the others -1.
__device__ __forceinline__ int32_t find_in_warp(const uint8_t* mask, RankRange range) {
  for (;; range.begin += kPixelsPerWarp) {
    const int32_t first = range.begin + 16 * lane_id();
    const int32_t count = first < range.end ? count_group(mask, first, range.end) : 0;
    const int32_t up_to_here = inclusive_sum(count);
    const int32_t total = shfl(kFullMask, up_to_here, kWarpSize - 1);
    if (range.rank >= total && range.begin + kPixelsPerWarp < range.end) {
      range.rank -= total;
      continue;
    }
    int32_t left = range.rank - (up_to_here - count);
    if (left < 0 || left >= count) return -1;
    int32_t i = first;
    while (mask[i] == 0 || left-- > 0) ++i;
    return i;
  }
}

// Number of set pixels, for every thread. counts: shared, kRankWarps; holds the shares' counts afterwards.
__device__ __forceinline__ int32_t count_set(const uint8_t* mask, int32_t pixels, int32_t* counts) {
  count_pieces(mask, {0, pixels, 0}, counts);
  sync_block();
  return reduce_add(kFullMask, counts[lane_id()]);
}

// After count_set: the range of at most kLastRange pixels that holds the set pixel number `rank`.
__device__ __forceinline__ RankRange narrow_to_rank(const uint8_t* mask, int32_t pixels, int32_t rank,
                                                    int32_t* counts) {
  RankRange range = narrowed({0, pixels, rank}, counts);
  while (range.end - range.begin > kLastRange) {
    sync_block();  // everyone has read the counts
    count_pieces(mask, range, counts);
    sync_block();
    range = narrowed(range, counts);
  }
  return range;
}

}  // namespace anatpaste
