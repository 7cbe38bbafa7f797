// Brightness and contrast, and equation 1 of the paper.
#pragma once

#include "pixel.h"
#include "portable.h"

namespace anatpaste {

// Mean grey level, in the pixel's own range, of `pixels` pixels whose channels' fixed-point sums are given.
// Colour is weighed by PIL's integer luma (19595 R + 38470 G + 7471 B) / 65536, so equal channels have the
// mean of one of them.
template <typename T>
ANATPASTE_HD float mean_grey(const uint64_t* sums, int channels, int64_t pixels) {
  const double total =
      channels == 3 ? static_cast<double>(19595u * sums[0] + 38470u * sums[1] + 7471u * sums[2]) / 65536.0
                    : static_cast<double>(sums[0]);
  return static_cast<float>(total / (static_cast<double>(pixels) * PixelTraits<T>::fixed_one));
}

// clip(brightness * (contrast * x + (1 - contrast) * mean)) as clip(slope * x + offset).
struct Jitter {
  float slope, offset;
};

ANATPASTE_HD Jitter make_jitter(float brightness, float contrast, float mean) {
  return {brightness * contrast, brightness * ((1.0f - contrast) * mean)};
}

template <typename T>
ANATPASTE_HD float jittered(const Jitter& jitter, float x) {
  return clip_to_range<T>(jitter.slope * x + jitter.offset);
}

// X_normal * (1 - mask) + X_paste * mask; a pixel with an empty mask is left untouched.
template <typename T>
ANATPASTE_HD T blended(T normal, float paste, float mask) {
  const float x = to_float(normal);
  return mask > 0.0f ? from_float<T>(x * (1.0f - mask) + paste * mask) : normal;
}

}  // namespace anatpaste
