// Pixels of every supported type: as float32 in their own range, as fixed-point
// integers for exact sums, and back.
#pragma once

#include "arith.h"
#include "portable.h"

namespace anatpaste {

// float16 and bfloat16 by their bits, so that host and device need no header for them.
struct Float16 {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

ANATPASTE_HD float half_to_float(uint16_t half) {
  // The exponent's bias is corrected by a product, which also handles subnormals.
  const float magnitude = bits_float(static_cast<uint32_t>(half & 0x7FFFu) << 13) * 0x1p112f;
  const uint32_t special = (half & 0x7C00u) == 0x7C00u ? 0x7F800000u : 0u;
  return bits_float(float_bits(magnitude) | special | static_cast<uint32_t>(half & 0x8000u) << 16);
}

// Round to nearest, ties to even, for 0 <= value <= 1.
ANATPASTE_HD uint16_t float_to_half(float value) {
  const uint32_t bits = float_bits(value);
  // Below 2^-14 halves are multiples of 2^-24, which is the last bit of a float at 0.5.
  if (value < 0x1p-14f) return static_cast<uint16_t>(float_bits(value + 0.5f) - float_bits(0.5f));
  return static_cast<uint16_t>((bits + 0x0FFFu + ((bits >> 13) & 1u) - (112u << 23)) >> 13);
}

// Round to nearest, ties to even, for 0 <= value <= 1.
ANATPASTE_HD uint16_t float_to_bfloat(float value) {
  const uint32_t bits = float_bits(value);
  return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

ANATPASTE_HD float to_float(uint8_t pixel) { return static_cast<float>(pixel); }
ANATPASTE_HD float to_float(uint16_t pixel) { return static_cast<float>(pixel); }
ANATPASTE_HD float to_float(Float16 pixel) { return half_to_float(pixel.bits); }
ANATPASTE_HD float to_float(BFloat16 pixel) { return bits_float(static_cast<uint32_t>(pixel.bits) << 16); }
ANATPASTE_HD float to_float(float pixel) { return pixel; }
ANATPASTE_HD float to_float(double pixel) { return static_cast<float>(pixel); }

// max: the white of this type. fixed_one: its fixed-point 1, so that 4,096 pixels fit a 32-bit sum and 2^28 a
// 64-bit one.
template <typename T>
struct PixelTraits {
  static constexpr float max = 1.0f;
  static constexpr uint32_t fixed_one = 1u << 20;
};
template <>
struct PixelTraits<uint8_t> {
  static constexpr float max = 255.0f;
  static constexpr uint32_t fixed_one = 1u;
};
template <>
struct PixelTraits<uint16_t> {
  static constexpr float max = 65535.0f;
  static constexpr uint32_t fixed_one = 1u;
};

// 0 .. max; NaN becomes 0.
template <typename T>
ANATPASTE_HD float clip_to_range(float value) {
  // One choice after the other, not one within the other: each is one instruction.
  const float positive = value > 0.0f ? value : 0.0f;
  return positive < PixelTraits<T>::max ? positive : PixelTraits<T>::max;
}

// Into the pixel's type, clipped. Integers: to nearest, halves up. Floats: to nearest, ties to even.
template <typename T>
ANATPASTE_HD T from_float(float value);
template <>
ANATPASTE_HD uint8_t from_float<uint8_t>(float value) {
  return static_cast<uint8_t>(static_cast<int32_t>(clip_to_range<uint8_t>(value) + 0.5f));
}
template <>
ANATPASTE_HD uint16_t from_float<uint16_t>(float value) {
  return static_cast<uint16_t>(static_cast<int32_t>(clip_to_range<uint16_t>(value) + 0.5f));
}
template <>
ANATPASTE_HD Float16 from_float<Float16>(float value) {
  return {float_to_half(clip_to_range<Float16>(value))};
}
template <>
ANATPASTE_HD BFloat16 from_float<BFloat16>(float value) {
  return {float_to_bfloat(clip_to_range<BFloat16>(value))};
}
template <>
ANATPASTE_HD float from_float<float>(float value) {
  return clip_to_range<float>(value);
}
template <>
ANATPASTE_HD double from_float<double>(float value) {
  return static_cast<double>(clip_to_range<double>(value));
}

// The pixel in units of 1 / fixed_one, an integer: sums of these do not depend on their order.
ANATPASTE_HD uint32_t to_fixed(uint8_t pixel) { return pixel; }
ANATPASTE_HD uint32_t to_fixed(uint16_t pixel) { return pixel; }
template <typename T>
ANATPASTE_HD uint32_t to_fixed(T pixel) {
  return static_cast<uint32_t>(clip_to_range<T>(to_float(pixel)) * 1048576.0f + 0.5f);
}

}  // namespace anatpaste
