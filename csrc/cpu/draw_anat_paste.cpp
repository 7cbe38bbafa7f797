// AnatPaste's parameters alone, for backends that do the rest by other means. The centre is left at 0; `rank`
// says which of the image's lung pixels it is, counted from 0 in raster order.
#include <tuple>
#include <vector>

#include "common/draw.h"
#include "cpu/random_arguments.h"
#include "cpu/tensor.h"
#include "settings_argument.h"

namespace anatpaste {
namespace cpu {
namespace {

std::tuple<Tensor, Tensor, Tensor> draw_anat_paste(const Tensor& index, const Tensor& seed,
                                                   const Tensor& step, const Tensor& lung_count,
                                                   int64_t height, int64_t width,
                                                   const std::vector<double>& settings_list) {
  const int64_t batch = index.numel();
  STD_TORCH_CHECK(lung_count.scalar_type() == ScalarType::Int && lung_count.numel() == batch,
                  "lung_count must be int32");
  const RandomArguments random = random_arguments(index, seed, step, batch);
  const auto settings = settings_of<AnatPasteSettings>(settings_list);
  Tensor ints = torch::stable::new_empty(index, {batch, PasteParams::kInts}, ScalarType::Int);
  Tensor reals = torch::stable::new_empty(index, {batch, PasteParams::kReals}, ScalarType::Float);
  Tensor ranks = torch::stable::new_empty(index, {batch}, ScalarType::Int);
  const int32_t* counts = data_of<int32_t>(lung_count);
  for (int64_t i = 0; i < batch; ++i) {
    uint32_t centre_word;
    const PasteParams p = draw_paste(settings, static_cast<int32_t>(height), static_cast<int32_t>(width),
                                     random.seed, random.index[i], random.step, &centre_word);
    p.store(mutable_data_of<int32_t>(ints), mutable_data_of<float>(reals), i);
    mutable_data_of<int32_t>(ranks)[i] = centre_rank(centre_word, counts[i]);
  }
  return {ints, reals, ranks};
}

}  // namespace
}  // namespace cpu
}  // namespace anatpaste

STABLE_TORCH_LIBRARY_IMPL(anatpaste, CPU, m) {
  m.impl("draw_anat_paste", TORCH_BOX(&anatpaste::cpu::draw_anat_paste));
}
