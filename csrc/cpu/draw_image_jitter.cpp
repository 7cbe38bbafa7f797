// Brightness and contrast factors of each image, float32 (B,2).
#include <vector>

#include "common/draw.h"
#include "cpu/random_arguments.h"
#include "cpu/tensor.h"
#include "settings_argument.h"

namespace anatpaste {
namespace cpu {
namespace {

Tensor draw_image_jitter(const Tensor& index, const Tensor& seed, const Tensor& step,
                         const std::vector<double>& settings_list) {
  const int64_t batch = index.numel();
  const RandomArguments random = random_arguments(index, seed, step, batch);
  const auto settings = settings_of<ImageJitterSettings>(settings_list);
  Tensor factors = torch::stable::new_empty(index, {batch, 2}, ScalarType::Float);
  float* out = mutable_data_of<float>(factors);
  for (int64_t i = 0; i < batch; ++i) {
    const JitterFactors drawn =
        anatpaste::draw_image_jitter(settings, random.seed, random.index[i], random.step);
    out[2 * i] = drawn.brightness;
    out[2 * i + 1] = drawn.contrast;
  }
  return factors;
}

}  // namespace
}  // namespace cpu
}  // namespace anatpaste

STABLE_TORCH_LIBRARY_IMPL(anatpaste, CPU, m) {
  m.impl("draw_image_jitter", TORCH_BOX(&anatpaste::cpu::draw_image_jitter));
}
