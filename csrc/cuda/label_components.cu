#include <tuple>

#include "label_components.cuh"
#include "mask_launch.h"

namespace anatpaste {

void launch_join(OnDevice& device, const Planes& planes, const Components& components, bool with_border) {
  if (with_border) {
    launch_nodes("join_blocks_and_border", device, planes, join_kernel<true>, components);
  } else {
    launch_nodes("join_blocks", device, planes, join_kernel<false>, components);
  }
}

void launch_measure(OnDevice& device, const Planes& planes, const Components& components) {
  launch_nodes("measure_components", device, planes, measure_kernel, components);
}

namespace {

struct LabelSections {
  ComponentSections components;
  int64_t marks, below, bytes;
};

LabelSections label_sections(const Planes& planes) {
  Sections sections;
  LabelSections at = {};
  const int64_t word_bytes = mask_words(planes) * int64_t{sizeof(uint32_t)};
  const int64_t node_bytes = nodes_of(planes) * int64_t{sizeof(uint32_t)};
  at.components.mask = sections.add(word_bytes);
  at.components.labels = sections.add(node_bytes);
  at.components.areas = sections.add(node_bytes);
  at.components.firsts = sections.add(node_bytes);
  at.marks = sections.add(word_bytes);
  at.below = sections.add(word_bytes);
  at.bytes = sections.bytes();
  return at;
}

std::tuple<Tensor, Tensor> label_components(const Tensor& mask) {
  check_mask(mask);
  const Planes planes = planes_of(mask);
  OnDevice device(mask);
  const int64_t nodes = block_shape(mask_shape(planes.height, planes.width)).nodes();
  Tensor labels = empty_planes(device, planes, ScalarType::Int);
  Tensor areas = device.empty({planes.batch, nodes}, ScalarType::Int);
  if (planes.batch == 0) return {labels, areas};
  const LabelSections at = label_sections(planes);
  Tensor workspace = device.empty({at.bytes}, ScalarType::Byte);
  uint8_t* base = device.write<uint8_t>(workspace);
  const Components found = components_at(base, planes, at.components);
  auto* areas_out = device.write<int32_t>(areas);
  const NumberOutputs out = {section<uint32_t>(base, at.marks), section<int32_t>(base, at.below),
                             device.write<int32_t>(labels), areas_out};
  memset_async("clear areas", areas_out, 0, planes.batch * nodes * sizeof(int32_t), device.stream());
  launch_bands<Morphology::kNone>("start_labels", device, planes,
                                  ByteSource{device.read<uint8_t>(mask), found.shape}, LabelSink{found});
  launch_join(device, planes, found, false);
  launch_measure(device, planes, found);
  launch_nodes("mark_firsts", device, planes, mark_firsts_kernel, found, section<uint32_t>(base, at.marks));
  launch("count_marks", count_marks_kernel, grid_of(planes.batch, 1), dim3(kCountThreads), 0, device.stream(),
         out.marks, found.mask, section<int32_t>(base, at.below), areas_out, found.shape,
         static_cast<int32_t>(nodes));
  launch_nodes("number_components", device, planes, number_kernel, found, out);
  return {labels, areas};
}

}  // namespace
}  // namespace anatpaste

ANATPASTE_REGISTER(m) { m.impl("label_components", TORCH_BOX(&anatpaste::label_components)); }
