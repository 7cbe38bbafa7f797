// From pixels of any type to CLAHE's bins, without double in the loop over pixels (except for float64
// images).
#pragma once

#include "../common/clahe.h"
#include "../common/grey.h"
#include "../common/pixel.h"
#include "block_ops.cuh"

namespace anatpaste {

// The 16-bit value of a pixel, equal to depth16.
__device__ __forceinline__ int32_t depth_of(uint8_t pixel) { return depth16(pixel); }
__device__ __forceinline__ int32_t depth_of(uint16_t pixel) { return depth16(pixel); }
__device__ __forceinline__ int32_t depth_of(double pixel) { return depth16(pixel); }

__device__ __forceinline__ int32_t depth_of(float pixel) {
  // Written so that NaN fails the first comparison and becomes 0.
  const float inside = pixel > 0.0f ? (pixel < 1.0f ? pixel : 1.0f) : 0.0f;
  // product + error is the exact product.
  const float product = mul_rn(inside, 65535.0f);
  const float error = fma_rn(inside, 65535.0f, -product);
  const float shift =
      12582912.0f;  // 1.5 * 2^23: above 2^23 floats are whole numbers, so the addition rounds.
  const float nearest = add_rn(add_rn(product, shift), -shift);
  const float rest = add_rn(product, -nearest);
  // Where the product looks like a tie, its error decides.
  const int32_t up = rest == 0.5f && error > 0.0f ? 1 : 0;
  const int32_t down = rest == -0.5f && error < 0.0f ? 1 : 0;
  return static_cast<int32_t>(nearest) + up - down;
}

__device__ __forceinline__ int32_t depth_of(Float16 pixel) { return depth_of(to_float(pixel)); }
__device__ __forceinline__ int32_t depth_of(BFloat16 pixel) { return depth_of(to_float(pixel)); }

// 16-bit values of one image to bins.
struct BinScale {
  int32_t low, range;
  UniformDivisor twice_range;
};

__device__ __forceinline__ BinScale bin_scale(const Range& depths) {
  const int32_t range = depths.high - depths.low;
  return {depths.low, range, uniform_divisor(max_of(2 * range, int32_t{1}))};
}

// level_of in integers. Only where the exact level lies halfway between two does its double rounding decide.
__device__ __forceinline__ int32_t level_at_depth(int32_t depth, const BinScale& scale) {
  if (scale.range == 0) return min_of(depth, kMaxLevel);
  const int32_t twice = 2 * kMaxLevel * (depth - scale.low) + scale.range;
  const int32_t level = divide(twice, scale.twice_range);
  if (level * scale.twice_range.divisor != twice) return level;
  return level_of(depth, scale.low, scale.low + scale.range);
}

__device__ __forceinline__ uint8_t bin_at_depth(int32_t depth, const BinScale& scale) {
  return static_cast<uint8_t>(level_bin(level_at_depth(depth, scale)));
}

// Calls visit(pixel index, pixel) for `count` pixels, shared out among `threads` threads of which this is
// number `thread`: 16 bytes a load where the image is so aligned.
template <typename T, typename Visit>
__device__ __forceinline__ void for_each_pixel(const T* __restrict__ image, int32_t count, int32_t thread,
                                               int32_t threads, bool aligned, const Visit& visit) {
  constexpr int kPixels = 16 / sizeof(T);
  struct Pixels {
    T at[kPixels];
  };
  const int32_t wide = aligned ? count / kPixels : 0;
  for (int32_t i = thread; i < wide; i += threads) {
    const Pixels pixels = bit_cast<Pixels>(load16(image + i * kPixels));
#pragma unroll
    for (int k = 0; k < kPixels; ++k) visit(i * kPixels + k, pixels.at[k]);
  }
  for (int32_t i = wide * kPixels + thread; i < count; i += threads) visit(i, image[i]);
}

}  // namespace anatpaste
