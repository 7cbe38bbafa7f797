// RGB to grey as PIL does it, and any pixel type to the 16-bit value that CLAHE starts from.
#pragma once

#include "exact.h"
#include "portable.h"

namespace anatpaste {

constexpr uint32_t kRedWeight = 19595;
constexpr uint32_t kGreenWeight = 38470;
constexpr uint32_t kBlueWeight = 7471;

// (19595 R + 38470 G + 7471 B + 32768) >> 16; the weights add up to 65536, so 16-bit channels still fit.
ANATPASTE_HD uint32_t luma(uint32_t red, uint32_t green, uint32_t blue) {
  return (kRedWeight * red + kGreenWeight * green + kBlueWeight * blue + 32768u) >> 16;
}

// The same weights for channels in [0, 1], without the rounding.
ANATPASTE_HD double luma(double red, double green, double blue) {
  const double red_green = add_rn(mul_rn(19595.0, red), mul_rn(38470.0, green));
  return mul_rn(add_rn(red_green, mul_rn(7471.0, blue)), 1.0 / 65536.0);
}

// scikit-image's img_as_uint: 0..65535 from each pixel type. Out of range and NaN go to an end of the range.
ANATPASTE_HD int32_t depth16(uint8_t pixel) { return 257 * pixel; }

ANATPASTE_HD int32_t depth16(uint16_t pixel) { return pixel; }

ANATPASTE_HD int32_t depth16(double pixel) {
  // Written so that NaN fails the first comparison and becomes 0.
  const double inside = pixel > 0.0 ? (pixel < 1.0 ? pixel : 1.0) : 0.0;
  return round_half_even(mul_rn(inside, 65535.0));
}

ANATPASTE_HD int32_t depth16(float pixel) { return depth16(static_cast<double>(pixel)); }

}  // namespace anatpaste
