// Binary images of one bit a pixel: pixel x of row y is bit x % 32 of word y * words + x / 32, bits beyond
// the width are 0. 3 x 3 morphology is shifts, ands and ors of neighbouring words.
#pragma once

#include "block_ops.cuh"

namespace anatpaste {

struct MaskShape {
  int32_t height, width;
  int32_t words;  // a row
};

ANATPASTE_HD MaskShape mask_shape(int32_t height, int32_t width) {
  return {height, width, ceil_div(width, int32_t{kWarpSize})};
}

// Bits of word `word` of a row that lie inside the image.
__device__ __forceinline__ uint32_t inside_bits(const MaskShape& shape, int32_t word) {
  const int32_t rest = shape.width - word * kWarpSize;
  return rest >= kWarpSize ? kFullMask : (1u << rest) - 1u;
}

// A word, or 0 if there is none at (y, word).
__device__ __forceinline__ uint32_t word_or_zero(const uint32_t* mask, const MaskShape& shape, int32_t y,
                                                 int32_t word) {
  const bool inside = y >= 0 && y < shape.height && word >= 0 && word < shape.words;
  return inside ? mask[y * shape.words + word] : 0u;
}

// Each bit with its neighbours to the left and to the right.
__device__ __forceinline__ uint32_t and_of_three(uint32_t left, uint32_t word, uint32_t right) {
  return word & funnel_left(left, word, 1) & funnel_right(word, right, 1);
}
__device__ __forceinline__ uint32_t or_of_three(uint32_t left, uint32_t word, uint32_t right) {
  return word | funnel_left(left, word, 1) | funnel_right(word, right, 1);
}

// read(row -1 .. 1, word -1 .. 1): the words around one. Where there is none, erosion must read ones,
// dilation zeros.
template <typename Read>
__device__ __forceinline__ uint32_t erode_word(const Read& read) {
  uint32_t bits = kFullMask;
#pragma unroll
  for (int row = -1; row <= 1; ++row) bits &= and_of_three(read(row, -1), read(row, 0), read(row, 1));
  return bits;
}
template <typename Read>
__device__ __forceinline__ uint32_t dilate_word(const Read& read) {
  uint32_t bits = 0;
#pragma unroll
  for (int row = -1; row <= 1; ++row) bits |= or_of_three(read(row, -1), read(row, 0), read(row, 1));
  return bits;
}

// Bit k of 16 becomes bits 2k and 2k + 1.
__device__ __forceinline__ uint32_t double_bits(uint32_t bits) {
  bits = (bits | bits << 8) & 0x00ff00ffu;
  bits = (bits | bits << 4) & 0x0f0f0f0fu;
  bits = (bits | bits << 2) & 0x33333333u;
  bits = (bits | bits << 1) & 0x55555555u;
  return bits * 3u;
}

// Four bits to four bytes of 0 or 1.
__device__ __forceinline__ uint32_t bits_to_bytes(uint32_t bits) {
  return ((bits & 15u) * 0x00204081u) & 0x01010101u;
}

// The bits of columns begin .. end - 1 in word `word`.
__device__ __forceinline__ uint32_t column_bits(int32_t word, int32_t begin, int32_t end) {
  const int32_t first = max_of(begin - word * kWarpSize, int32_t{0});
  const int32_t last = min_of(end - word * kWarpSize, int32_t{kWarpSize});
  if (first >= last) return 0u;
  return (kFullMask >> (kWarpSize - (last - first))) << first;
}

}  // namespace anatpaste
