// RGB to grey as PIL does it, and any pixel type to the 16-bit value that CLAHE starts from.
#pragma once

#include "exact.h"
#include "pixel.h"
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

// A grey pixel of the channels' own type.
ANATPASTE_HD uint8_t grey_of(uint8_t red, uint8_t green, uint8_t blue) {
  return static_cast<uint8_t>(luma(uint32_t{red}, uint32_t{green}, uint32_t{blue}));
}
ANATPASTE_HD uint16_t grey_of(uint16_t red, uint16_t green, uint16_t blue) {
  return static_cast<uint16_t>(luma(uint32_t{red}, uint32_t{green}, uint32_t{blue}));
}
ANATPASTE_HD double grey_of(double red, double green, double blue) { return luma(red, green, blue); }
ANATPASTE_HD float grey_of(float red, float green, float blue) {
  return static_cast<float>(luma(double{red}, double{green}, double{blue}));
}
// The double is first rounded to float32, which is what casting through torch does.
template <typename Half>
ANATPASTE_HD Half grey_of(Half red, Half green, Half blue) {
  return from_float<Half>(grey_of(to_float(red), to_float(green), to_float(blue)));
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
