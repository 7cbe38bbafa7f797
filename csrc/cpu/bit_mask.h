// A binary image of one bit a pixel, with 3 x 3 morphology on it.
#pragma once

#include <cstddef>
#include <vector>

#include "common/portable.h"

namespace anatpaste {
namespace cpu {

// Row y is the words y * words() .. ; pixel x is bit x % 64 of word x / 64. Bits beyond the width are 0.
class BitMask {
 public:
  BitMask(int32_t height, int32_t width);

  int32_t height() const { return height_; }
  int32_t width() const { return width_; }
  int32_t words() const { return words_; }
  uint64_t* row(int32_t y) { return &bits_[static_cast<std::size_t>(y) * words_]; }
  const uint64_t* row(int32_t y) const { return &bits_[static_cast<std::size_t>(y) * words_]; }

  // pixels: height x width bytes, 0 or 1.
  void read_bytes(const uint8_t* pixels);
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
  void combine_rows(bool erosion);
  void read_row_bytes(const uint8_t* pixels, uint64_t* row) const;

  int32_t height_, width_, words_;
  uint64_t last_word_;  // bits of the last word of a row that are inside the image
  std::vector<uint64_t> bits_;
  std::vector<uint64_t> above_, here_;  // rows as they were before they were overwritten
  std::vector<uint8_t> bytes_;          // one row, padded to whole words
};

}  // namespace cpu
}  // namespace anatpaste
