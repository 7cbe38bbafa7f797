// CLAHE and Otsu's bins, row by row; see kernels.h.
#pragma once

#include "common/clahe.h"
#include "common/clahe_blend.h"
#include "common/grey.h"
#include "common/otsu.h"
#include "common/pixel.h"
#include "cpu/simd/kernels.h"
#include "cpu/simd/lanes.h"

namespace anatpaste {
namespace cpu {
namespace {

template <typename T>
ANATPASTE_HD float real_of(T pixel) {
  return to_float(pixel);
}
ANATPASTE_HD double real_of(double pixel) { return pixel; }

template <typename T>
Extremes extremes_of(const T* values, int64_t count) {
  T low = values[0], high = values[0];
  for (int64_t i = 1; i < count; ++i) {
    low = min_of(low, values[i]);
    high = max_of(high, values[i]);
  }
  return {low, high};
}

// The 16-bit values that CLAHE starts from.
template <typename T>
void deepen(const T* image, int64_t count, uint16_t* __restrict__ deep) {
  for (int64_t i = 0; i < count; ++i) deep[i] = static_cast<uint16_t>(depth16(real_of(image[i])));
}

void drain(HistogramCopies& copies, int32_t* __restrict__ counts) {
  for (int32_t i = 0; i < 256; ++i) {
    counts[i] = copies[0][i] + copies[1][i] + copies[2][i] + copies[3][i];
    copies[0][i] = copies[1][i] = copies[2][i] = copies[3][i] = 0;
  }
}

void bins_of_bytes(const uint8_t* image, int64_t count, int32_t low, int32_t high,
                   uint8_t* __restrict__ bins) {
  const float factor = byte_bin_factor(low, high);
  for (int64_t i = 0; i < count; ++i) bins[i] = static_cast<uint8_t>(byte_bin(image[i] - low, factor));
}

void bins_of(const uint16_t* deep, int64_t count, int32_t low, int32_t high, uint8_t* bins) {
  for (int64_t i = 0; i < count; ++i) bins[i] = static_cast<uint8_t>(level_bin(level_of(deep[i], low, high)));
}

// Steps 1 and 2 of the redistribution; returns the excess left for step 3, and sets how many bins are under
// the limit.
int32_t clip_and_raise(int32_t* counts, int32_t clip, int32_t* under) {
  int32_t excess = 0;
  for (int32_t b = 0; b < kBins; ++b) {
    excess += over_clip(counts[b], clip);
    counts[b] = min_of(counts[b], clip);
  }
  const int32_t share = excess / kBins;
  int32_t grown = 0, left = 0;
  for (int32_t b = 0; b < kBins; ++b) {
    const int32_t raised = raise_bin(counts[b], clip, share);
    grown += raised - counts[b];
    left += raised < clip;
    counts[b] = raised;
  }
  *under = left;
  return excess - grown;
}

int32_t count_under(const int32_t* counts, int32_t clip) {
  int32_t under = 0;
  for (int32_t b = 0; b < kBins; ++b) under += counts[b] < clip;
  return under;
}

// kCombs.at[step - 1][kBins + b]: whether `step` divides b, for -kBins <= b < kBins and never below 0, so
// that a comb can begin at any bin. Nearly all steps are as small as these.
constexpr int32_t kCombCount = 8;
struct Combs {
  uint8_t at[kCombCount][2 * kBins] = {};
  constexpr Combs() {
    for (int32_t step = 1; step <= kCombCount; ++step) {
      for (int32_t b = 0; b < kBins; b += step) at[step - 1][kBins + b] = 1;
    }
  }
};
constexpr Combs kCombs;

// Adds one to the bins first, first + step, ... that are under the limit; takes their number off `excess` and
// returns how many bins are under the limit then.
int32_t grow(int32_t* counts, int32_t clip, int32_t first, int32_t step, int32_t* excess) {
  int32_t grown = 0, under = 0;
  if (step > kCombCount) {
    for (int32_t b = first; b < kBins; b += step) {
      const int32_t grows = counts[b] < clip;
      counts[b] += grows;
      grown += grows;
    }
    under = count_under(counts, clip);
  } else {
    const uint8_t* comb = kCombs.at[step - 1] + kBins - first;
    for (int32_t b = 0; b < kBins; ++b) {
      const int32_t grows = (counts[b] < clip) & comb[b];
      counts[b] += grows;
      grown += grows;
      under += counts[b] < clip;
    }
  }
  *excess -= grown;
  return under;
}

void redistribute(int32_t* counts, int32_t clip) {
  int32_t under;
  int32_t excess = clip_and_raise(counts, clip, &under);
  while (excess > 0) {
    for (int32_t first = 0; first < kBins && excess > 0; ++first) {
      if (under == 0) return;
      under = grow(counts, clip, first, spread_step(under, excess), &excess);
    }
  }
}

// Lane i takes lane i - step, or 0.
template <int32_t step>
ANATPASTE_HD Ints shifted_lanes(Ints lanes) {
  Ints from;
  for (int32_t i = 0; i < kInts; ++i) from[i] = i < step ? kInts : i - step;
  return __builtin_shuffle(lanes, Ints{}, from);
}

// The sum of each lane and all before it.
ANATPASTE_HD Ints running_sums(Ints lanes) {
  lanes += shifted_lanes<1>(lanes);
  lanes += shifted_lanes<2>(lanes);
  if (kInts > 4) lanes += shifted_lanes<4>(lanes);
  if (kInts > 8) lanes += shifted_lanes<8>(lanes);
  return lanes;
}

void map_levels(const int32_t* counts, double scale, uint16_t* levels) {
  int32_t cumulative[kBins];
  int32_t sum = 0;
  for (int32_t b = 0; b < kBins; b += kInts) {
    const Ints lanes = running_sums(load_ints(counts + b)) + sum;
    std::memcpy(cumulative + b, &lanes, sizeof lanes);
    sum = lanes[kInts - 1];
  }
  for (int32_t b = 0; b < kBins; ++b) levels[b] = static_cast<uint16_t>(map_level(cumulative[b], scale));
}

void interleave(const uint16_t* m00, const uint16_t* m01, const uint16_t* m10, const uint16_t* m11,
                uint64_t* quads) {
  for (int32_t p = 0; p < 256; ++p) {
    const uint32_t upper = m00[p] | static_cast<uint32_t>(m01[p]) << 16;
    const uint32_t lower = m10[p] | static_cast<uint32_t>(m11[p]) << 16;
    quads[p] = upper | static_cast<uint64_t>(lower) << 32;
  }
}

ANATPASTE_HD Corners corners_of(uint64_t quad) {
  const auto upper = static_cast<uint32_t>(quad), lower = static_cast<uint32_t>(quad >> 32);
  return {static_cast<int32_t>(upper & 0xffff), static_cast<int32_t>(upper >> 16),
          static_cast<int32_t>(lower & 0xffff), static_cast<int32_t>(lower >> 16)};
}

ANATPASTE_HD AxisWeights weights_of(const BlendRow& row, int32_t x) {
  return {row.x_before[x], row.x_after[x]};
}

template <typename Level>
ANATPASTE_HD void store_row(const BlendRow& row, int32_t begin, int16_t* out, Extremes* extremes,
                            const Level& level) {
  int32_t low = extremes->low, high = extremes->high;
  for (int32_t x = begin; x < row.width; ++x) {
    const int32_t value = level(x, corners_of(row.quads[x]));
    low = min_of(low, value);
    high = max_of(high, value);
    out[x] = static_cast<int16_t>(value);
  }
  *extremes = {low, high};
}

// Lanes 0, 2, ... (or, of odd ones, 1, 3, ...) of `a`, then of `b`.
ANATPASTE_HD Ints every_second(Ints a, Ints b, int32_t first) {
  Ints from;
  for (int32_t i = 0; i < kInts; ++i) from[i] = 2 * i + first;
  return __builtin_shuffle(a, b, from);
}

// blend_shift of whole registers of pixels: a quad and its columns' weights are two
// pairs of 16-bit integers each.
ANATPASTE_HD int32_t blend_registers_shift(BlendRow row, AxisWeights y, int32_t shift, int16_t* out,
                                           Extremes* extremes) {
  typedef int16_t Levels __attribute__((vector_size(kInts * sizeof(int16_t))));
  Ints low = Ints{} + extremes->low, high = Ints{} + extremes->high;
  int32_t x = 0;
  for (; x + kInts <= row.width; x += kInts) {
    const uint64_t *quads = row.quads + x, *weights = row.x_quads + x;
    const Ints a = dot_pairs(load_ints(quads), load_ints(weights));
    const Ints b = dot_pairs(load_ints(quads + kInts / 2), load_ints(weights + kInts / 2));
    const Ints upper = every_second(a, b, 0), lower = every_second(a, b, 1);
    const Ints level = (upper * y.before + lower * y.after) >> shift;
    low = level < low ? level : low;
    high = level > high ? level : high;
    const Levels narrow = __builtin_convertvector(level, Levels);
    std::memcpy(out + x, &narrow, sizeof narrow);
  }
  for (int32_t i = 0; i < kInts; ++i)
    *extremes = {min_of(extremes->low, low[i]), max_of(extremes->high, high[i])};
  return x;
}

void blend_row_shift(const BlendRow& row, AxisWeights y, int32_t shift, int16_t* out, Extremes* extremes) {
  const int32_t begin = blend_registers_shift(row, y, shift, out, extremes);
  store_row(row, begin, out, extremes, [&](int32_t x, const Corners& m) __attribute__((always_inline)) {
    return blend_shift(m, y, weights_of(row, x), shift);
  });
}

void blend_row_scaled(const BlendRow& row, AxisWeights y, float scale, int16_t* out, Extremes* extremes) {
  store_row(row, 0, out, extremes, [&](int32_t x, const Corners& m) __attribute__((always_inline)) {
    return blend_scaled(m, y, weights_of(row, x), scale);
  });
}

void blend_row_divide(const BlendRow& row, AxisWeights y, float pixels, int16_t* out, Extremes* extremes) {
  store_row(row, 0, out, extremes, [&](int32_t x, const Corners& m) __attribute__((always_inline)) {
    return blend_divide(m, y, weights_of(row, x), pixels);
  });
}

void blend_row_double(const BlendRow& row, AxisFractions y, int16_t* out, Extremes* extremes) {
  store_row(row, 0, out, extremes, [&](int32_t x, const Corners& m) __attribute__((always_inline)) {
    return blend_double(m, y, {row.x_before_d[x], row.x_after_d[x]});
  });
}

// otsu_bin of whole registers of 16-bit integers, twice as many as floats: a quotient by the reciprocal that
// is at most one too small, and its remainder, which tells. Returns how many levels were done.
ANATPASTE_HD int64_t otsu_bins_of_words(const int16_t* levels, int64_t count, int32_t low, int32_t range,
                                        uint8_t* bins) {
  typedef uint8_t Bins __attribute__((vector_size(kWords)));
  const Words base = Words{} + static_cast<uint16_t>(low), width = Words{} + static_cast<uint16_t>(range);
  const Words reciprocal = Words{} + static_cast<uint16_t>((kOtsuBins << 14) / range);
  int64_t i = 0;
  for (; i + kWords <= count; i += kWords) {
    Words above;
    std::memcpy(&above, levels + i, sizeof above);
    above -= base;
    Words bin = multiply_high(above << 2, reciprocal);
    const Words rest = (above << 8) - bin * width;
    bin += rest >= width ? Words{} + uint16_t{1} : Words{};
    bin = bin < Words{} + uint16_t{kOtsuBins - 1} ? bin : Words{} + uint16_t{kOtsuBins - 1};
    const Bins narrow = __builtin_convertvector(bin, Bins);
    std::memcpy(bins + i, &narrow, sizeof narrow);
  }
  return i;
}

void otsu_bins(const int16_t* levels, int64_t count, int32_t low, int32_t high, uint8_t* bins) {
  // The reciprocal fits 16 bits from there on, and a remainder, below twice the range, up to there.
  constexpr int32_t kNarrowest = 65, kWidest = 16383;
  const int32_t range = high - low;
  const bool fits = range >= kNarrowest && range <= kWidest;
  const float factor = otsu_factor(low, high);
  for (int64_t i = fits ? otsu_bins_of_words(levels, count, low, range, bins) : 0; i < count; ++i)
    bins[i] = static_cast<uint8_t>(otsu_bin(levels[i], low, factor));
}

}  // namespace
}  // namespace cpu
}  // namespace anatpaste
