// The fixed-point sums of a rectangle of an image, from which the mean comes that contrast turns about.
#pragma once

#include "device.h"
#include "pixel_run.cuh"

namespace anatpaste {

// A rectangle of pixels within an image.
struct CutRectangle {
  int32_t top, left, height, width;
};

// The sums of the rectangle's channels, for every thread, by whole warps a row. image: `channels` planes of
// `pixels` pixels in rows of `width`. partial: shared, kRunWarps words.
template <typename T>
__device__ __forceinline__ void sum_patch(const T* image, int32_t channels, int64_t pixels, int32_t width,
                                          const CutRectangle& cut, uint64_t* partial, uint64_t (&sums)[3]) {
#pragma unroll
  for (int32_t channel = 0; channel < 3; ++channel) {
    sums[channel] = 0;
    if (channel >= channels) continue;
    uint64_t sum = 0;
    for (int32_t row = warp_id(); row < cut.height; row += kRunWarps) {
      const T* pixel = image + channel * pixels + int64_t{cut.top + row} * width + cut.left;
#pragma unroll 4
      for (int32_t x = lane_id(); x < cut.width; x += kWarpSize) sum += to_fixed(pixel[x]);
    }
    sums[channel] = block_sum(sum, partial);
  }
}

}  // namespace anatpaste
