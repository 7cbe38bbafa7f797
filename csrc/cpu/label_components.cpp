#include <algorithm>
#include <tuple>

#include "cpu/mask_op.h"

namespace anatpaste {
namespace cpu {
namespace {

// labels: height x width; areas: `slots` of them, one a possible label and one for the background.
void label_image(const BitMask& bits, Components& components, int64_t slots, int32_t* labels,
                 int32_t* areas) {
  components.find(bits);
  components.write_labels(labels, bits.width());
  int64_t background = static_cast<int64_t>(bits.height()) * bits.width();
  const std::vector<int32_t>& found = components.measure_areas();
  for (int32_t i = 0; i < components.count(); ++i) {
    areas[i + 1] = found[i];
    background -= areas[i + 1];
  }
  areas[0] = static_cast<int32_t>(background);
  std::fill(areas + 1 + components.count(), areas + slots, 0);
}

}  // namespace

std::tuple<Tensor, Tensor> label_components(const Tensor& mask) {
  check_mask(mask);
  const Planes planes = planes_of(mask);
  // No two components have a pixel in the same 2 x 2 block, so there are no more components than blocks.
  const int64_t slots = int64_t{ceil_div(planes.height, 2)} * ceil_div(planes.width, 2) + 1;
  Tensor labels = new_planes(mask, planes, ScalarType::Int);
  Tensor areas = torch::stable::new_empty(mask, {planes.batch, slots}, ScalarType::Int);
  const auto* in = static_cast<const uint8_t*>(mask.const_data_ptr());
  auto* labels_out = mutable_data_of<int32_t>(labels);
  auto* areas_out = mutable_data_of<int32_t>(areas);
  for_each_image_range(planes.batch, [&](int64_t begin, int64_t end) {
    BitMask bits(planes.height, planes.width);
    Components components;
    for (int64_t b = begin; b < end; ++b) {
      bits.read_bytes(in + b * planes.pixels());
      label_image(bits, components, slots, labels_out + b * planes.pixels(), areas_out + b * slots);
    }
  });
  return {labels, areas};
}

}  // namespace cpu
}  // namespace anatpaste

STABLE_TORCH_LIBRARY_IMPL(anatpaste, CPU, m) {
  m.impl("label_components", TORCH_BOX(&anatpaste::cpu::label_components));
}
