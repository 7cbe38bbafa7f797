// A binary image of one bit a pixel, with 3 x 3 morphology on it.
#pragma once

#include <cstddef>
#include <vector>

#include "cpu/simd/kernels.h"

namespace anatpaste {
namespace cpu {

// Row y is the words row(y) .. ; pixel x is bit x % 64 of word x / 64. Bits beyond the width are 0, and so is
// one word after each row, which keeps the ends of rows apart.
class BitMask {
 public:
  BitMask(int32_t height, int32_t width);

  int32_t height() const { return height_; }
  int32_t width() const { return width_; }
  // Of a row, with the one that is 0.
  int32_t stride() const { return stride_; }
  uint64_t* row(int32_t y) { return &bits_[first_ + static_cast<std::size_t>(y) * stride_]; }
  const uint64_t* row(int32_t y) const { return &bits_[first_ + static_cast<std::size_t>(y) * stride_]; }

  // pixels: height x width bytes, set where they are not 0.
  void read_bytes(const uint8_t* pixels);
  // 0 or 1.
  void write_bytes(uint8_t* pixels) const;
  // Sets the pixels whose value v has low < v <= high.
  void read_range(const int16_t* values, int32_t low, int32_t high);

  // In place, 3 x 3 square. Outside the image erosion sees ones and dilation zeros.
  void erode();
  void dilate();
  void open() {
    erode();
    dilate();
  }

  // Clears pixels begin .. end - 1 of row y.
  void clear_run(int32_t y, int32_t begin, int32_t end);

 private:
  std::size_t words() const { return static_cast<std::size_t>(height_) * stride_; }
  void surround_by_ones();
  void clear_surroundings();

  const Kernels& k_;
  int32_t height_, width_, stride_;
  std::size_t first_;   // where row 0 begins: a row and a word come before it, and a row after the last one
  uint64_t last_word_;  // bits of a row's last word of pixels that are inside the image
  std::vector<uint64_t> bits_;
  std::vector<uint64_t> columns_;  // the mask half way through erosion or dilation, laid out likewise
};

}  // namespace cpu
}  // namespace anatpaste
