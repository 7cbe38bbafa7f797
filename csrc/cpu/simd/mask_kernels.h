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

// As many are written at once, whether there are so many or not: their number is hard to predict.
constexpr int32_t kAtOnce = 2;
static_assert(kAtOnce - 1 <= kRunsAhead, "what is written past the last run");

// Where the bits of `bits`, the word from pixel `x` on, are; and for each of them `before` and how many bits
// of `others` come until it, itself included. Returns their number.
ANATPASTE_HD int32_t rank_bits(uint64_t bits, int32_t x, uint64_t others, int32_t before,
                               int32_t Range::* side, Run* runs, Range* touched) {
  const int32_t count = __builtin_popcountll(bits);
  for (int32_t i = 0; i < count; i += kAtOnce) {
    for (int32_t k = i; k < i + kAtOnce; ++k) {
      const uint64_t until = bits ^ (bits - 1);
      runs[k].*side = x - 1 + __builtin_popcountll(until);
      touched[k].*side = before + __builtin_popcountll(others & until);
      bits &= bits - 1;
    }
  }
  return count;
}

int32_t collect_runs(const uint64_t* bits, const uint64_t* above, int32_t words, Run* runs, Range* touched) {
  int32_t begun = 0, ended = 0;
  // In the words before this one, of the row above: starts of runs, and pixels after the ends of runs.
  int32_t starts_before = 0, ends_before = 0;
  uint64_t last = 0, last_above = 0, last_end = 0;  // the bits before this word
  for (int32_t w = 0; w < words; ++w) {
    const uint64_t here = bits[w], up = above[w];
    const uint64_t previous = here << 1 | last, previous_up = up << 1 | last_above;
    if (((here ^ previous) | (up ^ previous_up) | last_end) == 0) continue;  // nothing changes
    // A run touches those above that do not end before the pixel before it, and do not start after the pixel
    // after it.
    const uint64_t starts = up & ~previous_up, end_pixels = previous_up & ~up;
    const uint64_t ends = end_pixels << 1 | last_end;
    begun += rank_bits(here & ~previous, w * kWordBits, ends, ends_before, &Range::begin, runs + begun,
                       touched + begun);
    ended += rank_bits(previous & ~here, w * kWordBits, starts, starts_before, &Range::end, runs + ended,
                       touched + ended);
    starts_before += __builtin_popcountll(starts);
    ends_before += __builtin_popcountll(ends);
    last = here >> (kWordBits - 1);
    last_above = up >> (kWordBits - 1);
    last_end = end_pixels >> (kWordBits - 1);
  }
  return begun;
}

// The first few pixels at once, also past the end of a run: what is there is written later or 0.
void write_labels(const Run* runs, const int32_t* parts, const int32_t* component_of, int32_t count,
                  int32_t width, int32_t* row) {
  constexpr int32_t kFew = kLabelsAhead + 1;
  std::memset(row, 0, width * sizeof *row);
  for (int32_t i = 0; i < count; ++i) {
    const int32_t label = component_of[parts[i]] + 1, length = runs[i].end - runs[i].begin;
    int32_t* out = row + runs[i].begin;
    for (int32_t x = 0; x < kFew; ++x) out[x] = x < length ? label : 0;
    for (int32_t x = kFew; x < length; ++x) out[x] = label;
  }
}

}  // namespace
}  // namespace cpu
}  // namespace anatpaste
