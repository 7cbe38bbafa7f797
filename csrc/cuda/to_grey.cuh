// RGB to grey, pixel by pixel.
#pragma once

#include "../common/grey.h"
#include "device.h"

namespace anatpaste {

constexpr int kGreyThreads = 256;

// One thread 16 bytes of grey, if planes are aligned to that, else one pixel.
template <typename T>
struct GreyRun {
  static constexpr int kPixels = 16 / sizeof(T);
  T at[kPixels];
};

template <typename T>
__global__ void __launch_bounds__(kGreyThreads) to_grey_kernel(const T* __restrict__ images,  // (B, 3, H, W)
                                                               T* __restrict__ greys,         // (B, H, W)
                                                               int32_t pixels, int32_t blocks, bool aligned) {
  using Run = GreyRun<T>;
  const int32_t image = static_cast<int32_t>(blockIdx.x) / blocks;
  const int32_t i =
      (static_cast<int32_t>(blockIdx.x) - image * blocks) * kGreyThreads + static_cast<int32_t>(threadIdx.x);
  const T* red = images + static_cast<int64_t>(image) * 3 * pixels;
  const T *green = red + pixels, *blue = green + pixels;
  T* grey = greys + static_cast<int64_t>(image) * pixels;
  if (!aligned) {
    if (i < pixels) grey[i] = grey_of(red[i], green[i], blue[i]);
    return;
  }
  const int32_t first = i * Run::kPixels;
  if (first >= pixels) return;
  const Run reds = bit_cast<Run>(load16(red + first)), greens = bit_cast<Run>(load16(green + first)),
            blues = bit_cast<Run>(load16(blue + first));
  Run run;
#pragma unroll
  for (int k = 0; k < Run::kPixels; ++k) run.at[k] = grey_of(reds.at[k], greens.at[k], blues.at[k]);
  store16(grey + first, bit_cast<uint4>(run));
}

}  // namespace anatpaste
