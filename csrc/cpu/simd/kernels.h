// The loops that pay for wide registers. simd/*_kernels.h hold their one source, which is compiled once for
// each level of the x86-64 instruction set and once elsewhere; every level gives the same bits, because
// contraction is off and all sums are of integers or in a fixed order.
#pragma once

#include <cstdint>

#include "common/blend.h"
#include "common/clahe_blend.h"
#include "common/portable.h"

namespace anatpaste {
namespace cpu {

// Smallest and largest value.
struct Extremes {
  int32_t low;
  int32_t high;
};

// begin .. end - 1.
struct Range {
  int32_t begin;
  int32_t end;
};

// Pixels of one row.
using Run = Range;

// The pixels of a row that are set: how many, and the columns begin .. end - 1 that hold them all.
struct SetPixels {
  int32_t count;
  int32_t begin;
  int32_t end;
};

// Copies of a histogram, so that runs of one value do not wait for their own last increment.
constexpr int32_t kCopies = 4;
// Runs past its last one that collect_runs may scribble on.
constexpr int32_t kRunsAhead = 1;
// Pixels past a row that write_labels may clear.
constexpr int32_t kLabelsAhead = 1;
using HistogramCopies = int32_t[kCopies][256];

// One row of CLAHE's interpolation: the four maps at each pixel, 16 bits each in the order of Corners, and
// the weights of every column; `x_quads` has them in 16 bits, as (before, after, before, after).
struct BlendRow {
  const uint64_t* quads;
  const uint64_t* x_quads;
  const int32_t* x_before;
  const int32_t* x_after;
  const double* x_before_d;
  const double* x_after_d;
  int32_t width;
};

// sum_chords computes that many rows and columns at a time, so its strides are multiples of the latter.
constexpr int32_t kTileRows = 4;
constexpr int32_t kTileColumns = 16;

struct Kernels {
  // Reductions over `count` > 0 values.
  Extremes (*extremes8)(const uint8_t* values, int64_t count);
  Extremes (*extremes16)(const uint16_t* values, int64_t count);
  Extremes (*extremes_of_levels)(const int16_t* values, int64_t count);
  // Adds the copies up into 256 counts, and clears them.
  void (*drain)(HistogramCopies& copies, int32_t* counts);

  // CLAHE (common/grey.h, common/clahe.h).
  void (*deepen_half)(const Float16* image, int64_t count, uint16_t* deep);
  void (*deepen_bfloat)(const BFloat16* image, int64_t count, uint16_t* deep);
  void (*deepen_float)(const float* image, int64_t count, uint16_t* deep);
  void (*deepen_double)(const double* image, int64_t count, uint16_t* deep);
  void (*bins_of_bytes)(const uint8_t* image, int64_t count, int32_t low, int32_t high, uint8_t* bins);
  void (*bins_of)(const uint16_t* deep, int64_t count, int32_t low, int32_t high, uint8_t* bins);
  void (*redistribute)(int32_t* counts, int32_t clip);
  void (*map_levels)(const int32_t* counts, double scale, uint16_t* levels);
  void (*interleave)(const uint16_t* m00, const uint16_t* m01, const uint16_t* m10, const uint16_t* m11,
                     uint64_t* quads);
  void (*blend_row_shift)(const BlendRow& row, AxisWeights y, int32_t shift, int16_t* out,
                          Extremes* extremes);
  void (*blend_row_scaled)(const BlendRow& row, AxisWeights y, float scale, int16_t* out, Extremes* extremes);
  void (*blend_row_divide)(const BlendRow& row, AxisWeights y, float pixels, int16_t* out,
                           Extremes* extremes);
  void (*blend_row_double)(const BlendRow& row, AxisFractions y, int16_t* out, Extremes* extremes);

  // Otsu (common/otsu.h): bins of levels within [low, high], low < high.
  void (*otsu_bins)(const int16_t* levels, int64_t count, int32_t low, int32_t high, uint8_t* bins);

  // Masks of one bit a pixel (cpu/bit_mask.h). Words past the last pixel are filled with zeros.
  void (*pack_bytes)(const uint8_t* pixels, int32_t width, uint64_t* bits);
  void (*pack_range)(const int16_t* values, int32_t width, int32_t low, int32_t high, uint64_t* bits);
  void (*unpack_bytes)(const uint64_t* bits, int32_t width, uint8_t* pixels);
  void (*erode_columns)(const uint64_t* bits, int64_t words, uint64_t* out);
  void (*dilate_columns)(const uint64_t* bits, int64_t words, uint64_t* out);
  void (*erode_rows)(const uint64_t* bits, int64_t words, int64_t stride, uint64_t* out);
  void (*dilate_rows)(const uint64_t* bits, int64_t words, int64_t stride, uint64_t* out);
  // The runs of a row, and their number; and, for each of them, which runs of the row above it touches,
  // corners included. The last word of both rows is 0.
  int32_t (*collect_runs)(const uint64_t* bits, const uint64_t* above, int32_t words, Run* runs,
                          Range* touched);
  // Writes component_of[part] + 1 along each run of a row, which go from left to right, and 0 elsewhere.
  void (*write_labels)(const Run* runs, const int32_t* parts, const int32_t* component_of, int32_t count,
                       int32_t width, int32_t* row);

  // Jitter and paste (common/blend.h, common/figure_blur.h).
  uint64_t (*sum8)(const uint8_t* values, int64_t count);
  SetPixels (*find_set)(const uint8_t* row, int32_t width);
  void (*scale)(const float* row, float factor, int32_t count, float* out);
  // out[i] = factor * row[-i]
  void (*scale_backwards)(const float* row, float factor, int32_t count, float* out);
  void (*subtract)(const float* upper, const float* lower, int32_t count, float* out);
  void (*sum_chords)(const float* weights, const float* chords, int32_t first, int32_t last, int32_t y,
                     int32_t stride, float* out);
  void (*blend_patch8)(const uint8_t* normal, const uint8_t* patch, const float* figure, const uint8_t* lung,
                       int32_t count, const Jitter& jitter, uint8_t* out);
  void (*blend_black8)(const uint8_t* normal, const float* figure, const uint8_t* lung, int32_t count,
                       uint8_t* out);

  const char* level;
};

// The kernels of the highest level that this CPU has, or of the one that the environment variable
// ANATPASTE_CPU_LEVEL names.
const Kernels& kernels();

}  // namespace cpu
}  // namespace anatpaste
