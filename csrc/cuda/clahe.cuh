// CLAHE over several launches, for images of any size: range of the pixels, bins and tile maps, levels.
#pragma once

#include "clahe_maps.cuh"
#include "image_stats.cuh"
#include "level_bins.cuh"

namespace anatpaste {

constexpr int kTileThreads = 256;

template <typename T>
__global__ void __launch_bounds__(kSliceThreads)
    depth_range_kernel(const T* __restrict__ images,    // (B, H, W)
                       ImageStats* __restrict__ stats,  // (B,), zeroed
                       Slices slices, bool aligned) {
  const Slice slice = this_slice(slices);
  Range range = empty_range();
  for_each_pixel(images + slice.image * slices.pixels + slice.begin, slice.pixels,
                 static_cast<int32_t>(threadIdx.x), kSliceThreads, aligned,
                 [&](int32_t, T pixel) { widen(range, depth_of(pixel)); });
  note_range(&stats[slice.image].depths, range);
}

// One block a tile. Reflected pixels count in the histogram, but their bins are
// stored by the tile they lie in.
template <typename T>
__device__ __forceinline__ void count_tile(const T* __restrict__ image, uint8_t* __restrict__ bins,
                                           const TileGrid& grid, int32_t tile, const BinScale& scale,
                                           int32_t* histogram) {
  const TileAxis &y_axis = grid.y, &x_axis = grid.x;
  const int32_t first_y = tile / x_axis.count * y_axis.tile, first_x = tile % x_axis.count * x_axis.tile;
  const auto flush = [&](int32_t bin, int32_t length) { atomic_add(&histogram[bin], length); };
  for (int32_t x = first_x + lane_id(); x < first_x + x_axis.tile; x += kWarpSize) {
    RunCounter run;
    for (int32_t y = first_y + warp_id(); y < first_y + y_axis.tile; y += kTileThreads / kWarpSize) {
      const int32_t i = reflect(y, y_axis.size) * x_axis.size + reflect(x, x_axis.size);
      const uint8_t bin = bin_at_depth(depth_of(image[i]), scale);
      if (y < y_axis.size && x < x_axis.size) bins[i] = bin;
      run.add(bin, flush);
    }
    run.finish(flush);
  }
}

template <typename T>
__global__ void __launch_bounds__(kTileThreads)
    tile_maps_kernel(const T* __restrict__ images,          // (B, H, W)
                     const ImageStats* __restrict__ stats,  // (B,)
                     uint8_t* __restrict__ bins,            // (B, H, W)
                     uint16_t* __restrict__ maps,           // (B, tile rows, tile columns, kBins)
                     TileGrid grid, MapRule rule) {
  ANATPASTE_SHARED(int32_t, histogram, kBins);
  const int32_t tiles = grid.y.count * grid.x.count;
  const int32_t image = static_cast<int32_t>(blockIdx.x) / tiles;
  const int64_t first = static_cast<int64_t>(image) * grid.y.size * grid.x.size;
  for (int i = static_cast<int>(threadIdx.x); i < kBins; i += kTileThreads) histogram[i] = 0;
  sync_block();
  const BinScale scale = bin_scale(range_of(stats[image].depths));
  count_tile(images + first, bins + first, grid, static_cast<int32_t>(blockIdx.x) - image * tiles, scale,
             histogram);
  sync_block();
  if (warp_id() != 0) return;
  const int32_t first_bin = lane_id() * kLaneBins;
  int32_t counts[kLaneBins];
#pragma unroll
  for (int k = 0; k < kLaneBins; ++k) counts[k] = histogram[first_bin + k];
  counts_to_levels(counts, rule);
  uint16_t* map = maps + static_cast<int64_t>(blockIdx.x) * kBins + first_bin;
#pragma unroll
  for (int k = 0; k < kLaneBins; ++k) map[k] = static_cast<uint16_t>(counts[k]);
}

// The interpolation's blocks: kTileThreads columns by kEqualizeRows rows.
constexpr int32_t kEqualizeRows = 32;

struct EqualizePlan {
  TileGrid grid;
  int32_t column_blocks, row_blocks;
  int32_t shift;       // kShift
  float tile_pixels;   // kDivide
  float inverse_tile;  // kScaled
};

inline EqualizePlan equalize_plan(const TileGrid& grid) {
  const int32_t tile_pixels = grid.y.tile * grid.x.tile;
  return {grid,
          ceil_div(grid.x.size, int32_t{kTileThreads}),
          ceil_div(grid.y.size, kEqualizeRows),
          log2_floor(tile_pixels),
          static_cast<float>(tile_pixels),
          1.0f / static_cast<float>(tile_pixels)};
}

// What a thread knows of its row or column.
struct AxisPlace {
  TilePosition position;
  AxisWeights weights;
  AxisFractions fractions;  // kDouble only
};

template <Blend form>
__device__ __forceinline__ AxisPlace place_on(const TileAxis& axis, const UniformDivisor& tile,
                                              int32_t pixel) {
  AxisPlace place = {};
  place.position = position_on(axis, tile, pixel);
  place.weights = weights_at(place.position, axis);
  if (form == Blend::kDouble) place.fractions = axis_fractions(place.position.offset, axis.tile);
  return place;
}

template <Blend form>
__device__ __forceinline__ int32_t blend(const Corners& corners, const AxisPlace& y, const AxisPlace& x,
                                         const EqualizePlan& plan) {
  if (form == Blend::kShift) return blend_shift(corners, y.weights, x.weights, plan.shift);
  if (form == Blend::kScaled) return blend_scaled(corners, y.weights, x.weights, plan.inverse_tile);
  if (form == Blend::kDivide) return blend_divide(corners, y.weights, x.weights, plan.tile_pixels);
  return blend_double(corners, y.fractions, x.fractions);
}

template <Blend form>
__global__ void __launch_bounds__(kTileThreads)
    equalize_kernel(const uint8_t* __restrict__ bins,   // (B, H, W)
                    const uint16_t* __restrict__ maps,  // (B, tile rows, tile columns, kBins)
                    int16_t* __restrict__ levels,       // (B, H, W)
                    ImageStats* __restrict__ stats,     // (B,)
                    EqualizePlan plan) {
  ANATPASTE_SHARED(AxisPlace, rows, kEqualizeRows);
  const TileGrid& grid = plan.grid;
  const int32_t blocks = plan.column_blocks * plan.row_blocks;
  const int32_t image = static_cast<int32_t>(blockIdx.x) / blocks;
  const int32_t block = static_cast<int32_t>(blockIdx.x) - image * blocks;
  const int32_t first_y = block / plan.column_blocks * kEqualizeRows;
  const int32_t x = block % plan.column_blocks * kTileThreads + static_cast<int32_t>(threadIdx.x);
  if (threadIdx.x < kEqualizeRows) {
    rows[threadIdx.x] = place_on<form>(grid.y, grid.y_tile, first_y + static_cast<int32_t>(threadIdx.x));
  }
  sync_block();
  Range range = empty_range();
  if (x < grid.x.size) {
    const AxisPlace at_x = place_on<form>(grid.x, grid.x_tile, x);
    const int32_t tile_row = grid.x.count * kBins;
    const uint16_t* image_maps = maps + static_cast<int64_t>(image) * grid.y.count * tile_row;
    const int64_t first = static_cast<int64_t>(image) * grid.y.size * grid.x.size;
    const int32_t end_y = min_of(first_y + kEqualizeRows, grid.y.size);
    for (int32_t y = first_y; y < end_y; ++y) {
      const AxisPlace& at_y = rows[y - first_y];
      const int64_t i = first + static_cast<int64_t>(y) * grid.x.size + x;
      const Corners corners =
          corners_at(image_maps + at_y.position.before * tile_row,
                     image_maps + at_y.position.after * tile_row, kBins, at_x.position, bins[i]);
      const int32_t level = blend<form>(corners, at_y, at_x, plan);
      levels[i] = static_cast<int16_t>(level);
      widen(range, level);
    }
  }
  note_range(&stats[image].levels, range);
}

}  // namespace anatpaste
