#include "mask_launch.h"

namespace anatpaste {
namespace {

Tensor clear_border(const Tensor& mask) {
  check_mask(mask);
  const Planes planes = planes_of(mask);
  OnDevice device(mask);
  Tensor cleared = empty_planes(device, planes, ScalarType::Bool);
  if (planes.batch == 0) return cleared;
  Sections sections;
  ComponentSections at;
  at.mask = sections.add(mask_words(planes) * int64_t{sizeof(uint32_t)});
  at.labels = sections.add(nodes_of(planes) * int64_t{sizeof(uint32_t)});
  Tensor workspace = device.empty({sections.bytes()}, ScalarType::Byte);
  const Components found = components_at(device.write<uint8_t>(workspace), planes, at);
  launch_bands<Morphology::kNone>("start_labels", device, planes,
                                  ByteSource{device.read<uint8_t>(mask), found.shape}, LabelSink{found});
  launch_join(device, planes, found, true);
  launch_bands<Morphology::kNone>("clear_border", device, planes, FilteredSource<TouchesBorder>{found, {}},
                                  ByteSink{device.write<uint8_t>(cleared), found.shape});
  return cleared;
}

}  // namespace
}  // namespace anatpaste

ANATPASTE_REGISTER(m) { m.impl("clear_border", TORCH_BOX(&anatpaste::clear_border)); }
