// Masks of one bit a pixel; see kernels.h and cpu/bit_mask.h.
#pragma once

#include "cpu/simd/kernels.h"
#include "cpu/simd/lanes.h"

namespace anatpaste {
namespace cpu {
namespace {

constexpr int32_t kWordBits = 64;

void pack_bytes(const uint8_t* pixels, int32_t width, uint64_t* bits) {
  int32_t x = 0;
  for (; x + kWordBits <= width; x += kWordBits) *bits++ = pack64(pixels + x);
  if (x == width) return;
  uint8_t rest[kWordBits] = {};
  std::memcpy(rest, pixels + x, width - x);
  *bits = pack64(rest);
}

void pack_range(const int16_t* values, int32_t width, int32_t low, int32_t high, uint64_t* bits) {
  constexpr int32_t kPiece = 16 * kWordBits;
  const auto above = static_cast<int16_t>(low), ceiling = static_cast<int16_t>(high);
  uint8_t inside[kPiece];
  for (int32_t x = 0; x < width; x += kPiece, values += kPiece, bits += kPiece / kWordBits) {
    const int32_t count = min_of(kPiece, width - x);
    for (int32_t i = 0; i < count; ++i) inside[i] = (values[i] > above) & (values[i] <= ceiling);
    pack_bytes(inside, count, bits);
  }
}

void unpack_bytes(const uint64_t* bits, int32_t width, uint8_t* pixels) {
  int32_t x = 0;
  for (; x + kWordBits <= width; x += kWordBits) unpack64(*bits++, pixels + x);
  if (x == width) return;
  uint8_t rest[kWordBits];
  unpack64(*bits, rest);
  std::memcpy(pixels + x, rest, width - x);
}

// Each pixel with its left and right neighbours. Reads a word on either side of the `words` ones.
ANATPASTE_HD uint64_t from_left(const uint64_t* word) { return word[0] << 1 | word[-1] >> (kWordBits - 1); }
ANATPASTE_HD uint64_t from_right(const uint64_t* word) { return word[0] >> 1 | word[1] << (kWordBits - 1); }

void erode_columns(const uint64_t* bits, int64_t words, uint64_t* __restrict__ out) {
  for (int64_t i = 0; i < words; ++i) out[i] = bits[i] & from_left(bits + i) & from_right(bits + i);
}

void dilate_columns(const uint64_t* bits, int64_t words, uint64_t* __restrict__ out) {
  for (int64_t i = 0; i < words; ++i) out[i] = bits[i] | from_left(bits + i) | from_right(bits + i);
}

// Each word with those above and below it, `stride` words away.
void erode_rows(const uint64_t* bits, int64_t words, int64_t stride, uint64_t* __restrict__ out) {
  for (int64_t i = 0; i < words; ++i) out[i] = bits[i - stride] & bits[i] & bits[i + stride];
}

void dilate_rows(const uint64_t* bits, int64_t words, int64_t stride, uint64_t* __restrict__ out) {
  for (int64_t i = 0; i < words; ++i) out[i] = bits[i - stride] | bits[i] | bits[i + stride];
}

// The runs of a row whose last word is 0, and their number. Up to kRunsAhead more may be scribbled on.
int32_t collect_runs(const uint64_t* bits, int32_t words, Run* runs) {
  static_assert(sizeof(Run) == 2 * sizeof(int32_t), "runs are written as a sequence of their ends");
  constexpr int32_t kAtOnce = 4;
  auto* ends = &runs->begin;
  int64_t found = 0;
  uint64_t last = 0;  // the pixel before this word
  for (int32_t w = 0; w < words; ++w) {
    // Bits where the row changes between 0 and 1: starts and ends of runs in turn.
    uint64_t changes = bits[w] ^ (bits[w] << 1 | last);
    last = bits[w] >> (kWordBits - 1);
    // Four are written whether there are so many or not: their number is hard to predict, a word without any
    // is not.
    while (changes != 0) {
      const int32_t count = __builtin_popcountll(changes);
      for (int32_t i = 0; i < kAtOnce; ++i) {
        ends[found + i] = w * kWordBits + __builtin_ctzll(changes | uint64_t{1} << (kWordBits - 1));
        changes &= changes - 1;
      }
      found += min_of(count, kAtOnce);
    }
  }
  return static_cast<int32_t>(found / 2);
}

}  // namespace
}  // namespace cpu
}  // namespace anatpaste
