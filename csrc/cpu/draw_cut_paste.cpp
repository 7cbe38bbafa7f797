// CutPaste's parameters alone, for backends that do the rest by other means.
#include "common/draw_cut_paste.h"

#include <tuple>
#include <vector>

#include "cpu/random_arguments.h"
#include "cpu/tensor.h"
#include "settings_argument.h"

namespace anatpaste {
namespace cpu {
namespace {

std::tuple<Tensor, Tensor> draw_cut_paste(const Tensor& index, const Tensor& seed, const Tensor& step,
                                          int64_t height, int64_t width,
                                          const std::vector<double>& settings_list) {
  const int64_t batch = index.numel();
  const RandomArguments random = random_arguments(index, seed, step, batch);
  const auto settings = settings_of<CutPasteSettings>(settings_list);
  Tensor ints = torch::stable::new_empty(index, {batch, CutPasteParams::kInts}, ScalarType::Int);
  Tensor reals = torch::stable::new_empty(index, {batch, CutPasteParams::kReals}, ScalarType::Float);
  for (int64_t i = 0; i < batch; ++i) {
    const CutPasteParams p =
        anatpaste::draw_cut_paste(settings, static_cast<int32_t>(height), static_cast<int32_t>(width),
                                  random.seed, random.index[i], random.step);
    p.store(mutable_data_of<int32_t>(ints), mutable_data_of<float>(reals), i);
  }
  return {ints, reals};
}

}  // namespace
}  // namespace cpu
}  // namespace anatpaste

STABLE_TORCH_LIBRARY_IMPL(anatpaste, CPU, m) {
  m.impl("draw_cut_paste", TORCH_BOX(&anatpaste::cpu::draw_cut_paste));
}
