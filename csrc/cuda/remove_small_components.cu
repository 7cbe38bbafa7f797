#include "mask_launch.h"
#include "remove_small_components.cuh"

namespace anatpaste {

void launch_removal(OnDevice& device, const Planes& planes, const Components& components, int64_t min_area,
                    uint8_t* masks) {
  const ByteSink sink = {masks, components.shape};
  launch_join(device, planes, components, false);
  launch_measure(device, planes, components);
  if (components.boxes == nullptr) {
    const FilteredSource<IsSmall> source = {components, {area_limit(min_area)}};
    launch_bands<Morphology::kNone>("remove_small", device, planes, source, sink);
  } else {
    launch_nodes("clear_boxes", device, planes, clear_boxes_kernel, components, area_limit(min_area));
    launch_bands<Morphology::kNone>("unpack", device, planes, BitSource{components.mask, components.shape},
                                    sink);
  }
}

namespace {

Tensor remove_small_components(const Tensor& mask, int64_t min_area, bool bounding_box) {
  check_mask(mask);
  const Planes planes = planes_of(mask);
  OnDevice device(mask);
  Tensor kept = empty_planes(device, planes, ScalarType::Bool);
  if (planes.batch == 0) return kept;
  Sections sections;
  ComponentSections at;
  at.mask = sections.add(mask_words(planes) * int64_t{sizeof(uint32_t)});
  at.labels = sections.add(nodes_of(planes) * int64_t{sizeof(uint32_t)});
  at.areas = sections.add(nodes_of(planes) * int64_t{sizeof(int32_t)});
  if (bounding_box) at.boxes = sections.add(nodes_of(planes) * int64_t{sizeof(Box)});
  Tensor workspace = device.empty({sections.bytes()}, ScalarType::Byte);
  const Components found = components_at(device.write<uint8_t>(workspace), planes, at);
  launch_bands<Morphology::kNone>("start_labels", device, planes,
                                  ByteSource{device.read<uint8_t>(mask), found.shape}, LabelSink{found});
  launch_removal(device, planes, found, min_area, device.write<uint8_t>(kept));
  return kept;
}

}  // namespace
}  // namespace anatpaste

ANATPASTE_REGISTER(m) { m.impl("remove_small_components", TORCH_BOX(&anatpaste::remove_small_components)); }
