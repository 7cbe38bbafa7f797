#include "common/grey.h"
#include "cpu/checks.h"
#include "cpu/tensor.h"

namespace anatpaste {
namespace cpu {
namespace {

inline uint8_t luma_of(uint8_t red, uint8_t green, uint8_t blue) {
  return static_cast<uint8_t>(luma(uint32_t{red}, uint32_t{green}, uint32_t{blue}));
}

inline uint16_t luma_of(uint16_t red, uint16_t green, uint16_t blue) {
  return static_cast<uint16_t>(luma(uint32_t{red}, uint32_t{green}, uint32_t{blue}));
}

inline double luma_of(double red, double green, double blue) { return luma(red, green, blue); }

// The double is first rounded to float32 for the 16-bit types, which is what casting through torch does.
inline void store(double value, double* out) { *out = value; }
inline void store(double value, float* out) { *out = static_cast<float>(value); }
inline void store(double value, c10::Half* out) { *out = static_cast<float>(value); }
inline void store(double value, c10::BFloat16* out) { *out = static_cast<float>(value); }
inline void store(uint8_t value, uint8_t* out) { *out = value; }
inline void store(uint16_t value, uint16_t* out) { *out = value; }

}  // namespace

Tensor to_grey(const Tensor& image) {
  check_contiguous_planes(image, 3, "image");
  const Planes planes = planes_of(image);
  Tensor grey = new_planes(image, planes, image.scalar_type());
  with_pixel_type(image.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const auto* in = data_of<T>(image);
    auto* out = mutable_data_of<T>(grey);
    const int64_t plane = planes.pixels();
    for_each_image_range(planes.batch, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        const T* red = in + b * 3 * plane;
        for (int64_t i = 0; i < plane; ++i) {
          store(luma_of(to_real(red[i]), to_real(red[i + plane]), to_real(red[i + 2 * plane])),
                out + b * plane + i);
        }
      }
    });
  });
  return grey;
}

}  // namespace cpu
}  // namespace anatpaste

STABLE_TORCH_LIBRARY_IMPL(anatpaste, CPU, m) { m.impl("to_grey", TORCH_BOX(&anatpaste::cpu::to_grey)); }
