// CutPaste's parameters alone, for backends that do the rest by other means.
#include "common/draw_cut_paste.h"

#include <tuple>

#include "cpu/random_arguments.h"
#include "cpu/tensor.h"

namespace anatpaste {
namespace cpu {
namespace {

std::tuple<Tensor, Tensor> draw_cut_paste(const Tensor& index, const Tensor& seed, const Tensor& step,
                                          int64_t height, int64_t width, int64_t variant, double area_low,
                                          double area_high, double log_aspect_low, double log_aspect_high,
                                          double scar_width_low, double scar_width_high,
                                          double scar_length_low, double scar_length_high,
                                          double rotation_low, double rotation_high, double jitter_low,
                                          double jitter_high) {
  const int64_t batch = index.numel();
  const RandomArguments random = random_arguments(index, seed, step, batch);
  const CutPasteSettings settings =
      make_cut_paste_settings(height, width, variant, area_low, area_high, log_aspect_low, log_aspect_high,
                              scar_width_low, scar_width_high, scar_length_low, scar_length_high,
                              rotation_low, rotation_high, jitter_low, jitter_high);
  Tensor ints = torch::stable::new_empty(index, {batch, kCutPasteInt}, ScalarType::Int);
  Tensor reals = torch::stable::new_empty(index, {batch, kCutPasteReal}, ScalarType::Float);
  for (int64_t i = 0; i < batch; ++i) {
    store_params(anatpaste::draw_cut_paste(settings, random.seed, random.index[i], random.step),
                 mutable_data_of<int32_t>(ints) + i * kCutPasteInt,
                 mutable_data_of<float>(reals) + i * kCutPasteReal);
  }
  return {ints, reals};
}

}  // namespace
}  // namespace cpu
}  // namespace anatpaste

STABLE_TORCH_LIBRARY_IMPL(anatpaste, CPU, m) {
  m.impl("draw_cut_paste", TORCH_BOX(&anatpaste::cpu::draw_cut_paste));
}
