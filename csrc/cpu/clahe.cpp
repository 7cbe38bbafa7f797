#include "cpu/checks.h"
#include "cpu/equalize.h"
#include "cpu/tensor.h"
#include "pixel_dispatch.h"

namespace anatpaste {
namespace cpu {

Tensor clahe(const Tensor& image, double clip_limit) {
  check_contiguous_planes(image, 1, "image");
  check_clip_limit(clip_limit);
  const Planes planes = planes_of(image);
  Tensor levels = new_planes(image, planes, ScalarType::Short);
  auto* out = mutable_data_of<int16_t>(levels);
  dispatch_pixel(image.scalar_type(), [&](auto pixel) {
    const auto* in = data_of<decltype(pixel)>(image);
    for_each_image_range(planes.batch, [&](int64_t begin, int64_t end) {
      Equalizer equalizer(planes.height, planes.width, clip_limit);
      for (int64_t b = begin; b < end; ++b)
        equalizer.run(in + b * planes.pixels(), out + b * planes.pixels());
    });
  });
  return levels;
}

}  // namespace cpu
}  // namespace anatpaste

STABLE_TORCH_LIBRARY_IMPL(anatpaste, CPU, m) { m.impl("clahe", TORCH_BOX(&anatpaste::cpu::clahe)); }
