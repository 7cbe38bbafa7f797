// The loops that pay for wide registers. simd/*_kernels.h hold their one source, which is compiled once for
// each level of the x86-64 instruction set and once elsewhere; every level gives the same bits, because
// contraction is off and all sums are of integers or in a fixed order.
#pragma once

#include <cstdint>
#include <type_traits>

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

// What a table must give: without a value it does not compile, since it has no default.
template <typename T>
class Entry {
 public:
  constexpr Entry(std::decay_t<T> value) : value_(value) {}
  constexpr operator std::decay_t<T>() const { return value_; }

 private:
  std::decay_t<T> value_;
};

struct Kernels {
  // Reductions over `count` > 0 values.
  Entry<Extremes(const uint8_t* values, int64_t count)> extremes8;
  Entry<Extremes(const uint16_t* values, int64_t count)> extremes16;
  Entry<Extremes(const int16_t* values, int64_t count)> extremes_of_levels;
  // Adds the copies up into 256 counts, and clears them.
  Entry<void(HistogramCopies& copies, int32_t* counts)> drain;

  // CLAHE (common/grey.h, common/clahe.h).
  Entry<void(const Float16* image, int64_t count, uint16_t* deep)> deepen_half;
  Entry<void(const BFloat16* image, int64_t count, uint16_t* deep)> deepen_bfloat;
  Entry<void(const float* image, int64_t count, uint16_t* deep)> deepen_float;
  Entry<void(const double* image, int64_t count, uint16_t* deep)> deepen_double;
  Entry<void(const uint8_t* image, int64_t count, int32_t low, int32_t high, uint8_t* bins)> bins_of_bytes;
  Entry<void(const uint16_t* deep, int64_t count, int32_t low, int32_t high, uint8_t* bins)> bins_of;
  Entry<void(int32_t* counts, int32_t clip)> redistribute;
  Entry<void(const int32_t* counts, double scale, uint16_t* levels)> map_levels;
  Entry<void(const uint16_t* m00, const uint16_t* m01, const uint16_t* m10, const uint16_t* m11,
             uint64_t* quads)>
      interleave;
  Entry<void(const BlendRow& row, AxisWeights y, int32_t shift, int16_t* out, Extremes* extremes)>
      blend_row_shift;
  Entry<void(const BlendRow& row, AxisWeights y, float scale, int16_t* out, Extremes* extremes)>
      blend_row_scaled;
  Entry<void(const BlendRow& row, AxisWeights y, float pixels, int16_t* out, Extremes* extremes)>
      blend_row_divide;
  Entry<void(const BlendRow& row, AxisFractions y, int16_t* out, Extremes* extremes)> blend_row_double;

  // Otsu (common/otsu.h): bins of levels within [low, high], low < high.
  Entry<void(const int16_t* levels, int64_t count, int32_t low, int32_t high, uint8_t* bins)> otsu_bins;

  // Masks of one bit a pixel (cpu/bit_mask.h). Words past the last pixel are filled with zeros.
  Entry<void(const uint8_t* pixels, int32_t width, uint64_t* bits)> pack_bytes;
  Entry<void(const int16_t* values, int32_t width, int32_t low, int32_t high, uint64_t* bits)> pack_range;
  Entry<void(const uint64_t* bits, int32_t width, uint8_t* pixels)> unpack_bytes;
  Entry<void(const uint64_t* bits, int64_t words, uint64_t* out)> erode_columns;
  Entry<void(const uint64_t* bits, int64_t words, uint64_t* out)> dilate_columns;
  Entry<void(const uint64_t* bits, int64_t words, int64_t stride, uint64_t* out)> erode_rows;
  Entry<void(const uint64_t* bits, int64_t words, int64_t stride, uint64_t* out)> dilate_rows;
  // The runs of a row, and their number; and, for each of them, which runs of the row above it touches,
  // corners included. The last word of both rows is 0.
  Entry<int32_t(const uint64_t* bits, const uint64_t* above, int32_t words, Run* runs, Range* touched)>
      collect_runs;
  // Writes component_of[part] + 1 along each run of a row, which go from left to right, and 0 elsewhere.
  Entry<void(const Run* runs, const int32_t* parts, const int32_t* component_of, int32_t count, int32_t width,
             int32_t* row)>
      write_labels;

  // Jitter and paste (common/blend.h, common/figure_blur.h).
  Entry<uint64_t(const uint8_t* values, int64_t count)> sum8;
  // in and out may be the same
  Entry<void(const uint8_t* in, int64_t count, const Jitter& jitter, uint8_t* out)> jitter8;
  Entry<SetPixels(const uint8_t* row, int32_t width)> find_set;
  Entry<void(const float* row, float factor, int32_t count, float* out)> scale;
  // out[i] = factor * row[-i]
  Entry<void(const float* row, float factor, int32_t count, float* out)> scale_backwards;
  Entry<void(const float* upper, const float* lower, int32_t count, float* out)> subtract;
  Entry<void(const float* weights, const float* chords, int32_t first, int32_t last, int32_t y,
             int32_t stride, float* out)>
      sum_chords;
  Entry<void(const uint8_t* normal, const uint8_t* patch, const float* figure, const uint8_t* lung,
             int32_t count, const Jitter& jitter, uint8_t* out)>
      blend_patch8;
  Entry<void(const uint8_t* normal, const float* figure, const uint8_t* lung, int32_t count, uint8_t* out)>
      blend_black8;

  Entry<const char*> level;
};

// The kernels of the highest level that this CPU has, or of the one that the environment variable
// ANATPASTE_CPU_LEVEL names.
const Kernels& kernels();

}  // namespace cpu
}  // namespace anatpaste
