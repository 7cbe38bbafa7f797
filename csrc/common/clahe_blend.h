// CLAHE's interpolation between the maps of four tiles. scikit-image rounds each product map * weight, taken
// in double, to float32, adds the four in float32 in the order 00, 01, 10, 11 (row, column) and truncates.
// The cheaper forms below give the same integer for the tile sizes that they are chosen for.
#pragma once

#include "exact.h"
#include "portable.h"

namespace anatpaste {

// The four mapped levels of a pixel: tile row before/after, then tile column before/after.
struct Corners {
  int32_t m00, m01, m10, m11;
};

// Weights of one axis times the tile size: before = tile - offset, after = offset.
struct AxisWeights {
  int32_t before, after;
};

enum class Blend {
  // Tile of 2^s pixels, s <= 10: products and sums are multiples of 2^-10 below
  // 2^14, which float32 holds exactly.
  kShift,
  // Tile of 2^s pixels, s <= 17: int32 holds the scaled products; converting them rounds as scikit-image's
  // cast does.
  kScaled,
  // Other tiles of at most 1024 pixels: the scaled product is below 2^24, so one division gives the rounded
  // quotient. That is never within 2^-34 (relative) of a tie, hence the double product rounds alike.
  kDivide,
  // Any tile: the computation itself.
  kDouble,
};

ANATPASTE_HD bool is_power_of_two(int32_t value) { return (value & (value - 1)) == 0; }

// floor(log2(value)), value >= 1
ANATPASTE_HD int32_t log2_floor(int32_t value) {
  int32_t bits = 0;
  while (value > 1) {
    value >>= 1;
    ++bits;
  }
  return bits;
}

ANATPASTE_HD Blend choose_blend(int32_t tile_height, int32_t tile_width) {
  const int64_t pixels = static_cast<int64_t>(tile_height) * tile_width;
  const bool power = is_power_of_two(tile_height) && is_power_of_two(tile_width);
  if (power && pixels <= 1024) return Blend::kShift;
  if (power && pixels <= (1 << 17)) return Blend::kScaled;
  return pixels <= 1024 ? Blend::kDivide : Blend::kDouble;
}

ANATPASTE_HD int32_t blend_shift(const Corners& m, const AxisWeights& y, const AxisWeights& x,
                                 int32_t shift) {
  const int32_t upper = m.m00 * x.before + m.m01 * x.after;
  const int32_t lower = m.m10 * x.before + m.m11 * x.after;
  return (upper * y.before + lower * y.after) >> shift;
}

ANATPASTE_HD float sum_in_order(float p00, float p01, float p10, float p11) {
  return add_rn(add_rn(add_rn(p00, p01), p10), p11);
}

// `scale` = 2^-s, which changes no digit.
ANATPASTE_HD int32_t blend_scaled(const Corners& m, const AxisWeights& y, const AxisWeights& x, float scale) {
  const float sum = sum_in_order(
      static_cast<float>(m.m00 * (x.before * y.before)), static_cast<float>(m.m01 * (x.after * y.before)),
      static_cast<float>(m.m10 * (x.before * y.after)), static_cast<float>(m.m11 * (x.after * y.after)));
  return static_cast<int32_t>(mul_rn(sum, scale));
}

// `pixels` = tile_height * tile_width
ANATPASTE_HD int32_t blend_divide(const Corners& m, const AxisWeights& y, const AxisWeights& x,
                                  float pixels) {
  const float sum = sum_in_order(div_rn(static_cast<float>(m.m00 * (x.before * y.before)), pixels),
                                 div_rn(static_cast<float>(m.m01 * (x.after * y.before)), pixels),
                                 div_rn(static_cast<float>(m.m10 * (x.before * y.after)), pixels),
                                 div_rn(static_cast<float>(m.m11 * (x.after * y.after)), pixels));
  return static_cast<int32_t>(sum);
}

// Weight of the tile after, and 1 minus it, as doubles.
struct AxisFractions {
  double before, after;
};

ANATPASTE_HD AxisFractions axis_fractions(int32_t offset, int32_t tile) {
  const double after = div_rn(static_cast<double>(offset), static_cast<double>(tile));
  return {add_rn(1.0, -after), after};
}

ANATPASTE_HD int32_t blend_double(const Corners& m, const AxisFractions& y, const AxisFractions& x) {
  const float sum =
      sum_in_order(static_cast<float>(mul_rn(static_cast<double>(m.m00), mul_rn(x.before, y.before))),
                   static_cast<float>(mul_rn(static_cast<double>(m.m01), mul_rn(x.after, y.before))),
                   static_cast<float>(mul_rn(static_cast<double>(m.m10), mul_rn(x.before, y.after))),
                   static_cast<float>(mul_rn(static_cast<double>(m.m11), mul_rn(x.after, y.after))));
  return static_cast<int32_t>(sum);
}

}  // namespace anatpaste
