// The blurred figure on a GPU, tile by tile of its first quadrant, as a figure is
// symmetric about both of its axes.
#pragma once

#include "../common/figure_blur.h"
#include "device.h"

namespace anatpaste {

// A warp computes 8 rows x 64 columns: 16 sums a lane, which stay in registers.
constexpr int kTileRows = 8;
constexpr int kTileSpans = 2;
constexpr int kTileColumns = kTileSpans * kWarpSize;
// Chords whose row weights are laid out in shared memory at a time.
constexpr int kTileDepth = 16;
constexpr int kTileWeights = kTileDepth * kTileRows;

// The part of a figure that has to be computed: as far as the blur, or the image, reaches.
struct FigureExtent {
  int32_t radius, rows, columns;
  int32_t below;  // edges reach from n = -below
  int32_t edges;  // their number
};

__device__ __forceinline__ FigureExtent extent_of(const PasteParams& p, int32_t height, int32_t width) {
  if (is_empty(p)) return {0, 0, 0, 0, 0};
  FigureExtent extent;
  extent.radius = blur_radius(p.sigma);
  extent.rows = min_of(p.half_h + extent.radius, max_of(p.centre_y, height - 1 - p.centre_y)) + 1;
  extent.columns = min_of(p.half_w + extent.radius, max_of(p.centre_x, width - 1 - p.centre_x)) + 1;
  extent.below = max_of(p.half_h, p.half_w) + 1;
  extent.edges = extent.below + max_of(extent.rows + p.half_h, extent.columns + p.half_w);
  return extent;
}

// Room that extent_of can ask for on images of one size.
ANATPASTE_HD int32_t max_edges(int32_t height, int32_t width) { return 2 * max_of(height, width) + 2; }
ANATPASTE_HD int32_t max_chords(int32_t height) { return height / 2 + 1; }

// edges[n + below] = Phi((n + 1/2) / sigma) - 1/2 for either sign of n;
// chords[dy] = half the chord of row dy.
struct FigureTables {
  float* edges;
  int32_t* chords;
};

// Fills the tables, by all threads of the block. A barrier must follow.
__device__ __forceinline__ void fill_tables(const PasteParams& p, const FigureExtent& extent,
                                            const FigureTables& tables) {
  for (int32_t i = thread_rank(); i < extent.edges; i += blockDim.x) {
    const int32_t n = i - extent.below;
    const int32_t m = n < 0 ? -1 - n : n;
    const float magnitude = m < extent.radius ? half_edge_entry(m, p.sigma) : 0.5f;
    tables.edges[i] = n < 0 ? -magnitude : magnitude;
  }
  if (extent.rows == 0) return;
  for (int32_t dy = thread_rank(); dy <= p.half_h; dy += blockDim.x) {
    tables.chords[dy] = half_chord(p.kind, p.half_h, p.half_w, dy);
  }
}

// What the tiles of one figure are computed from; `edge` points at n = 0.
struct Figure {
  const float* edge;
  const int32_t* chords;
  int32_t kind, half_h, half_w;
  FigureExtent extent;
};

__device__ __forceinline__ float interval(const float* edge, int32_t half, int32_t d) {
  return edge[d + half] - edge[d - half - 1];
}

// The weight of the raster's rows dy and -dy together in row y.
__device__ __forceinline__ float pair_weight(const float* edge, int32_t y, int32_t dy) {
  const float weight = interval(edge, 0, y - dy);
  return dy == 0 ? weight : weight + interval(edge, 0, y + dy);
}

// Lays out the weights of chords dy .. dy + 15 in the rows of the tile: weights[chord][row].
__device__ __forceinline__ void lay_out_weights(const Figure& figure, int32_t top, int32_t dy,
                                                float* weights) {
  sync_warp();  // the previous ones have been read
#pragma unroll
  for (int i = 0; i < kTileWeights / kWarpSize; ++i) {
    const int32_t slot = lane_id() + i * kWarpSize;
    const int32_t y = min_of(top + slot % kTileRows, figure.extent.rows - 1);
    weights[slot] = pair_weight(figure.edge, y, min_of(dy + slot / kTileRows, figure.half_h));
  }
  sync_warp();
}

using TileSums = float[kTileRows][kTileSpans];

// sums[row][span] = the ellipse at (top + row, column[span]): chords' differences summed down the columns, dy
// in ascending order. weights: shared, kTileWeights a warp.
__device__ __forceinline__ void sum_ellipse(const Figure& figure, int32_t top,
                                            const int32_t (&column)[kTileSpans], float* weights,
                                            TileSums& sums) {
  // Rows further than the blur reaches have weight 0.
  const int32_t first = max_of(0, top - figure.extent.radius);
  const int32_t last = min_of(figure.half_h, top + kTileRows - 1 + figure.extent.radius);
  for (int32_t dy = first; dy <= last; dy += kTileDepth) {
    lay_out_weights(figure, top, dy, weights);
    const int32_t depth = min_of(kTileDepth, last - dy + 1);
#pragma unroll 2  // more spills registers
    for (int32_t d = 0; d < depth; ++d) {
      const float4 upper = bit_cast<float4>(load16(weights + d * kTileRows));
      const float4 lower = bit_cast<float4>(load16(weights + d * kTileRows + 4));
      const float weight[kTileRows] = {upper.x, upper.y, upper.z, upper.w,
                                       lower.x, lower.y, lower.z, lower.w};
      const int32_t chord = figure.chords[dy + d];
#pragma unroll
      for (int span = 0; span < kTileSpans; ++span) {
        const float inside = interval(figure.edge, chord, column[span]);
#pragma unroll
        for (int row = 0; row < kTileRows; ++row) sums[row][span] = sums[row][span] + weight[row] * inside;
      }
    }
  }
}

__device__ __forceinline__ void sum_rectangle(const Figure& figure, int32_t top,
                                              const int32_t (&column)[kTileSpans], TileSums& sums) {
#pragma unroll
  for (int row = 0; row < kTileRows; ++row) {
    const int32_t y = min_of(top + row, figure.extent.rows - 1);
    const float vertical = interval(figure.edge, figure.half_h, y);
#pragma unroll
    for (int span = 0; span < kTileSpans; ++span) {
      sums[row][span] = vertical * interval(figure.edge, figure.half_w, column[span]);
    }
  }
}

// The blurred figure before its value on the tile whose first row and column, counted from the centre, are
// given. Lanes beyond the extent compute its last column again. Called by whole warps.
__device__ __forceinline__ void compute_tile(const Figure& figure, int32_t top, int32_t left, float* weights,
                                             TileSums& sums) {
  int32_t column[kTileSpans];
#pragma unroll
  for (int span = 0; span < kTileSpans; ++span) {
    column[span] = min_of(left + span * kWarpSize + lane_id(), figure.extent.columns - 1);
#pragma unroll
    for (int row = 0; row < kTileRows; ++row) sums[row][span] = 0.0f;
  }
  if (figure.kind == kRectangle) {
    sum_rectangle(figure, top, column, sums);
  } else {
    sum_ellipse(figure, top, column, weights, sums);
  }
}

}  // namespace anatpaste
