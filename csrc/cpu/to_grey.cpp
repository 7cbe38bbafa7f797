#include "common/grey.h"
#include "cpu/checks.h"
#include "cpu/tensor.h"
#include "pixel_dispatch.h"

namespace anatpaste {
namespace cpu {
Tensor to_grey(const Tensor& image) {
  check_contiguous_planes(image, 3, "image");
  const Planes planes = planes_of(image);
  Tensor grey = new_planes(image, planes, image.scalar_type());
  dispatch_pixel(image.scalar_type(), [&](auto pixel) {
    using T = decltype(pixel);
    const auto* in = data_of<T>(image);
    auto* out = mutable_data_of<T>(grey);
    const int64_t plane = planes.pixels();
    for_each_image_range(planes.batch, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        const T* red = in + b * 3 * plane;
        for (int64_t i = 0; i < plane; ++i) {
          out[b * plane + i] = grey_of(red[i], red[i + plane], red[i + 2 * plane]);
        }
      }
    });
  });
  return grey;
}

}  // namespace cpu
}  // namespace anatpaste

STABLE_TORCH_LIBRARY_IMPL(anatpaste, CPU, m) { m.impl("to_grey", TORCH_BOX(&anatpaste::cpu::to_grey)); }
