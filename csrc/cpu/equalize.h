// CLAHE of one image at a time, with working memory that is reused from image to image.
#pragma once

#include <cstddef>
#include <vector>

#include "common/clahe.h"
#include "common/clahe_blend.h"
#include "cpu/simd/kernels.h"

namespace anatpaste {
namespace cpu {

// Counts `count` bytes into four copies of a histogram.
void count_bytes(const uint8_t* bytes, int64_t count, HistogramCopies& copies);

class Equalizer {
 public:
  Equalizer(int32_t height, int32_t width, double clip_limit);

  // image, levels: height x width. Returns the extremes of the levels.
  Extremes run(const uint8_t* image, int16_t* levels);
  Extremes run(const uint16_t* image, int16_t* levels);
  Extremes run(const Float16* image, int16_t* levels) { return run_real(k_.deepen_half, image, levels); }
  Extremes run(const BFloat16* image, int16_t* levels) { return run_real(k_.deepen_bfloat, image, levels); }
  Extremes run(const float* image, int16_t* levels) { return run_real(k_.deepen_float, image, levels); }
  Extremes run(const double* image, int16_t* levels) { return run_real(k_.deepen_double, image, levels); }

 private:
  int64_t pixels() const { return static_cast<int64_t>(y_.size) * x_.size; }
  template <typename T>
  Extremes run_real(Entry<void(const T*, int64_t, uint16_t*)> deepen, const T* image, int16_t* levels) {
    // The levels are written last, so until then their memory can hold the 16-bit pixels.
    auto* deep = reinterpret_cast<uint16_t*>(levels);
    deepen(image, pixels(), deep);
    return run(static_cast<const uint16_t*>(deep), levels);
  }
  Extremes equalize(int16_t* levels);
  void count_tile(int32_t tile_y, int32_t tile_x, int32_t* counts);
  void place_quads(int32_t tile_row_before, int32_t tile_row_after);
  void look_up_row(const uint8_t* bins);
  Extremes blend(int16_t* levels);

  const Kernels& k_;
  TileAxis y_, x_;
  int32_t clip_;
  Blend form_;
  std::vector<uint8_t> bins_;    // of each pixel
  std::vector<uint16_t> maps_;   // tile rows x tile columns x 256 bins
  HistogramCopies copies_ = {};  // zeros between uses
  // Of the current row of blocks, (tile columns + 1) x 256 bins: the maps of a block's
  // four tiles beside one another.
  std::vector<uint64_t> quads_;
  std::vector<int32_t> x_before_, x_after_;     // weights of each pixel column
  std::vector<uint64_t> x_quads_;               // the same, beside one another, for Blend::kShift
  std::vector<double> x_before_d_, x_after_d_;  // the same as fractions, for Blend::kDouble
  std::vector<uint64_t> row_;                   // quads looked up for one row
};

}  // namespace cpu
}  // namespace anatpaste
