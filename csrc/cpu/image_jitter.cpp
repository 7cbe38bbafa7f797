// Brightness and contrast of whole images.
#include <vector>

#include "common/blend.h"
#include "common/draw.h"
#include "cpu/apply_jitter.h"
#include "cpu/pixel_sums.h"
#include "cpu/random_arguments.h"
#include "cpu/tensor.h"
#include "pixel_dispatch.h"
#include "settings_argument.h"

namespace anatpaste {
namespace cpu {
namespace {

template <typename T>
void jitter_images(const Tensor& image, const RandomArguments& random, const ImageJitterSettings& settings,
                   const Tensor& out) {
  const Planes planes = planes_of(image);
  const int channels = static_cast<int>(image.size(1));
  const int64_t stride = channels * planes.pixels();
  const T* in = data_of<T>(image);
  T* result = mutable_data_of<T>(out);
  for_each_image_range(planes.batch, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const JitterFactors drawn =
          anatpaste::draw_image_jitter(settings, random.seed, random.index[i], random.step);
      const T* pixels = in + i * stride;
      const float mean =
          rectangle_mean(pixels, channels, planes.height, planes.width, 0, 0, planes.height, planes.width);
      apply_jitter(pixels, stride, make_jitter(drawn.brightness, drawn.contrast, mean), result + i * stride);
    }
  });
}

Tensor image_jitter(const Tensor& image, const Tensor& index, const Tensor& seed, const Tensor& step,
                    const std::vector<double>& settings_list) {
  STD_TORCH_CHECK(image.dim() == 4 && (image.size(1) == 1 || image.size(1) == 3) && image.is_contiguous(),
                  "image must be contiguous (B,1,H,W) or (B,3,H,W)");
  const RandomArguments random = random_arguments(index, seed, step, image.size(0));
  const auto settings = settings_of<ImageJitterSettings>(settings_list);
  Tensor out = torch::stable::empty_like(image);
  dispatch_pixel(image.scalar_type(),
                 [&](auto pixel) { jitter_images<decltype(pixel)>(image, random, settings, out); });
  return out;
}

}  // namespace
}  // namespace cpu
}  // namespace anatpaste

STABLE_TORCH_LIBRARY_IMPL(anatpaste, CPU, m) {
  m.impl("image_jitter", TORCH_BOX(&anatpaste::cpu::image_jitter));
}
