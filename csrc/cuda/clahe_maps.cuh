// CLAHE from histograms to levels, as pieces for one warp and one thread. A tile's 256 bins are held by one
// warp, eight neighbouring bins a lane.
#pragma once

#include "../common/clahe.h"
#include "../common/clahe_blend.h"
#include "block_ops.cuh"

namespace anatpaste {

constexpr int kLaneBins = kBins / kWarpSize;

// What every tile's map needs; the same for all images of a batch.
struct MapRule {
  int32_t clip;    // largest count of a bin
  int32_t pixels;  // a tile
  int32_t top;     // level of a cumulative count of `pixels`
  double scale;    // map_scale(pixels)
};

inline MapRule map_rule(double clip_limit, int32_t tile_pixels) {
  const double scale = map_scale(tile_pixels);
  return {clip_count(clip_limit, tile_pixels), tile_pixels, map_level(tile_pixels, scale), scale};
}

// map_level in integers: level = cumulative * 16383 / pixels, cut off. Its double rounding decides only where
// that division leaves no rest; and beyond 2^17 pixels the product does not fit 32 bits.
__device__ __forceinline__ int32_t level_at_count(int32_t cumulative, const MapRule& rule) {
  if (cumulative == 0) return 0;
  if (cumulative == rule.pixels) return rule.top;
  const uint32_t pixels = static_cast<uint32_t>(rule.pixels);
  const uint32_t product = static_cast<uint32_t>(cumulative) * kMaxLevel;
  const uint32_t level = product / pixels;
  if (pixels > 1u << 17 || level * pixels == product) return map_level(cumulative, rule.scale);
  return min_of(static_cast<int32_t>(level), kMaxLevel);
}

// Redistribution, steps 1 and 2. Returns the excess left.
__device__ __forceinline__ int32_t clip_and_raise(int32_t (&counts)[kLaneBins], int32_t clip) {
  int32_t excess = 0;
#pragma unroll
  for (int k = 0; k < kLaneBins; ++k) {
    excess += over_clip(counts[k], clip);
    counts[k] = min_of(counts[k], clip);
  }
  excess = reduce_add(kFullMask, excess);
  const int32_t share = excess / kBins;
  int32_t growth = 0;
#pragma unroll
  for (int k = 0; k < kLaneBins; ++k) {
    const int32_t raised = raise_bin(counts[k], clip, share);
    growth += raised - counts[k];
    counts[k] = raised;
  }
  return excess - reduce_add(kFullMask, growth);
}

// One pass of step 3: adds one to each bin first, first + step, ... under the
// limit. Returns how many that were.
__device__ __forceinline__ int32_t spread_once(int32_t (&counts)[kLaneBins], int32_t clip, int32_t first,
                                               int32_t step) {
  const int32_t lane_first = lane_id() * kLaneBins;
  // (lane_first - first) modulo step; the added multiple of step makes it positive.
  int32_t phase = (lane_first - first + kBins * step) % step;
  int32_t growth = 0;
#pragma unroll
  for (int k = 0; k < kLaneBins; ++k) {
    const bool grows = phase == 0 && lane_first + k >= first && counts[k] < clip;
    counts[k] += grows ? 1 : 0;
    growth += grows ? 1 : 0;
    phase = phase + 1 == step ? 0 : phase + 1;
  }
  return reduce_add(kFullMask, growth);
}

// Step 3. Every round with a bin under the limit adds to one at the latest when
// it reaches that bin, so it ends.
__device__ __forceinline__ void spread_rest(int32_t (&counts)[kLaneBins], int32_t clip, int32_t excess) {
  for (int32_t first = 0; excess > 0; first = (first + 1) % kBins) {
    int32_t under = 0;
#pragma unroll
    for (int k = 0; k < kLaneBins; ++k) under += counts[k] < clip ? 1 : 0;
    under = reduce_add(kFullMask, under);
    if (under == 0) return;
    excess -= spread_once(counts, clip, first, spread_step(under, excess));
  }
}

// A warp's tile: counts become map levels.
__device__ __forceinline__ void counts_to_levels(int32_t (&counts)[kLaneBins], const MapRule& rule) {
  spread_rest(counts, rule.clip, clip_and_raise(counts, rule.clip));
  int32_t cumulative = 0;
#pragma unroll
  for (int k = 0; k < kLaneBins; ++k) cumulative += counts[k];
  cumulative = warp_sum_below(cumulative);
#pragma unroll
  for (int k = 0; k < kLaneBins; ++k) {
    cumulative += counts[k];
    counts[k] = level_at_count(cumulative, rule);
  }
}

// tile_position with one division by a known divisor.
struct TileGrid {
  TileAxis y, x;
  UniformDivisor y_tile, x_tile;
};

inline TileGrid tile_grid(int32_t height, int32_t width) {
  const TileAxis y = tile_axis(height), x = tile_axis(width);
  return {y, x, uniform_divisor(y.tile), uniform_divisor(x.tile)};
}

__device__ __forceinline__ TilePosition position_on(const TileAxis& axis, const UniformDivisor& tile,
                                                    int32_t pixel) {
  const int32_t shifted = pixel + axis.tile / 2;
  const int32_t block = divide(shifted, tile);
  return {max_of(block - 1, int32_t{0}), min_of(block, axis.count - 1), shifted - block * axis.tile};
}

__device__ __forceinline__ AxisWeights weights_at(const TilePosition& position, const TileAxis& axis) {
  return {axis.tile - position.offset, position.offset};
}

// upper, lower: maps of a row of tiles, `stride` levels a tile.
__device__ __forceinline__ Corners corners_at(const uint16_t* upper, const uint16_t* lower, int32_t stride,
                                              const TilePosition& x, int32_t bin) {
  const int32_t before = x.before * stride + bin, after = x.after * stride + bin;
  return {upper[before], upper[after], lower[before], lower[after]};
}

}  // namespace anatpaste
