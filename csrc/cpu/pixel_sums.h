// Exact sums over a rectangle of an image, for the mean that contrast turns about.
#pragma once

#include "common/blend.h"
#include "cpu/simd/kernels.h"

namespace anatpaste {
namespace cpu {

// A row of up to 4,096 pixels fits 32 bits; longer ones are summed in pieces.
template <typename T>
uint64_t sum_row(const T* row, int64_t count) {
  constexpr int64_t kPiece = 2048;
  uint64_t total = 0;
  for (int64_t begin = 0; begin < count; begin += kPiece) {
    const int64_t end = min_of(begin + kPiece, count);
    uint32_t piece = 0;
    for (int64_t x = begin; x < end; ++x) piece += to_fixed(row[x]);
    total += piece;
  }
  return total;
}

inline uint64_t sum_row(const uint8_t* row, int64_t count) { return kernels().sum8(row, count); }

// Mean grey of the rectangle at (top, left) of an image with `channels` planes of height x width.
template <typename T>
float rectangle_mean(const T* image, int channels, int32_t height, int32_t width, int32_t top, int32_t left,
                     int32_t rows, int32_t columns) {
  uint64_t sums[3] = {0, 0, 0};
  // Whole rows are one long one.
  const int64_t run = columns == width ? int64_t{rows} * columns : columns;
  const int32_t runs = columns == width ? 1 : rows;
  for (int channel = 0; channel < channels; ++channel) {
    for (int32_t y = 0; y < runs; ++y) {
      const int64_t row = int64_t{channel} * height + top + y;
      sums[channel] += sum_row(image + row * width + left, run);
    }
  }
  return mean_grey<T>(sums, channels, int64_t{rows} * columns);
}

}  // namespace cpu
}  // namespace anatpaste
