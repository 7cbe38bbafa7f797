// CLAHE of one image at a time, with working memory that is reused from image to image.
#pragma once

#include <cstddef>
#include <vector>

#include "common/clahe.h"
#include "common/clahe_blend.h"
#include "common/grey.h"
#include "cpu/tensor.h"

namespace anatpaste {
namespace cpu {

// Smallest and largest value.
struct Extremes {
  int32_t low;
  int32_t high;
};

class Equalizer {
 public:
  Equalizer(int32_t height, int32_t width, double clip_limit);

  // image, levels: height x width. Returns the extremes of the levels.
  template <typename T>
  Extremes run(const T* image, int16_t* levels) {
    // The levels are written last, so until then their memory can hold the 16-bit pixels.
    auto* deep = reinterpret_cast<uint16_t*>(levels);
    for (int64_t i = 0; i < pixels(); ++i) deep[i] = static_cast<uint16_t>(depth16(to_real(image[i])));
    return run(static_cast<const uint16_t*>(deep), levels);
  }

  Extremes run(const uint8_t* image, int16_t* levels);
  Extremes run(const uint16_t* image, int16_t* levels);

 private:
  int64_t pixels() const { return static_cast<int64_t>(y_.size) * x_.size; }
  Extremes equalize(int16_t* levels);
  void count_tile(int32_t tile_y, int32_t tile_x, int32_t* counts) const;
  void map_tile(int32_t* counts, uint16_t* map) const;
  void place_quads(int32_t tile_row_before, int32_t tile_row_after);
  Extremes blend(int16_t* levels);

  TileAxis y_, x_;
  int32_t clip_;
  Blend form_;
  // height x width bytes that say each pixel's bin, by way of bin_of_: uint8 images stand for themselves.
  const uint8_t* bytes_ = nullptr;
  uint8_t bin_of_[256];
  std::vector<uint8_t> bins_;   // those bytes for other images
  std::vector<uint16_t> maps_;  // tile rows x tile columns x 256 bytes
  // Of the current row of blocks, (tile columns + 1) x 256 bytes: the maps of a block's four tiles beside one
  // another.
  std::vector<uint64_t> quads_;
  std::vector<int32_t> column_quads_;           // where each pixel column's block begins in quads_
  std::vector<int32_t> x_before_, x_after_;     // weights of each pixel column
  std::vector<double> x_before_d_, x_after_d_;  // the same as fractions, for Blend::kDouble
  std::vector<uint64_t> row_;                   // quads looked up for one row
};

}  // namespace cpu
}  // namespace anatpaste
