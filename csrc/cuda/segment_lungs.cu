#include "segment_fused.h"

namespace anatpaste {
namespace {

struct Settings {
  double clip_limit;
  int64_t min_area;
  bool bounding_box;
};

// One launch: a block an image.
void segment_fused(OnDevice& device, const Tensor& image, const Settings& settings, FusedPlan plan,
                   Tensor& mask) {
  const Planes planes = planes_of(image);
  // Only boxes need global memory.
  Tensor workspace =
      device.empty({settings.bounding_box ? nodes_of(planes) * int64_t{sizeof(Box)} : 0}, ScalarType::Byte);
  Box* boxes = settings.bounding_box ? reinterpret_cast<Box*>(device.write<uint8_t>(workspace)) : nullptr;
  auto* masks = device.write<uint8_t>(mask);
  dispatch_pixel(image.scalar_type(), [&](auto pixel) {
    using T = decltype(pixel);
    const T* images = device.read<T>(image);
    plan.aligned = is_aligned(images, planes.pixels() * sizeof(T)) && is_aligned(masks, planes.pixels());
    launch_fused(device, planes, plan, images, masks, boxes);
  });
}

// The workspace of the multi-launch path. Labels of the first components take the place of the bins, and
// those of the second that of the levels, when these have served.
struct LargeSections {
  int64_t stats, maps, bins, levels, bytes;
  ComponentSections dark, dilated;
};

LargeSections large_sections(const Planes& planes, bool bounding_box) {
  Sections sections;
  LargeSections at = {};
  const int64_t pixels = planes.batch * planes.pixels(),
                node_bytes = nodes_of(planes) * int64_t{sizeof(uint32_t)};
  const int64_t mask_bytes = mask_words(planes) * int64_t{sizeof(uint32_t)};
  at.stats = sections.add(planes.batch * int64_t{sizeof(ImageStats)});
  at.maps = sections.add(clahe_map_bytes(planes));
  at.bins = sections.add(max_of(pixels, node_bytes));
  at.dark.labels = at.bins;
  at.dark.mask = sections.add(mask_bytes);
  at.levels = sections.add(max_of(pixels * int64_t{sizeof(int16_t)}, node_bytes));
  at.dilated.labels = at.levels;
  at.dilated.mask = sections.add(mask_bytes);
  at.dilated.areas = sections.add(node_bytes);
  if (bounding_box) at.dilated.boxes = sections.add(nodes_of(planes) * int64_t{sizeof(Box)});
  at.bytes = sections.bytes();
  return at;
}

// Ten launches and a memset (one launch more for bounding boxes): any size.
void segment_large(OnDevice& device, const Tensor& image, const Settings& settings, Tensor& mask) {
  const Planes planes = planes_of(image);
  const LargeSections at = large_sections(planes, settings.bounding_box);
  Tensor workspace = device.empty({at.bytes}, ScalarType::Byte);
  uint8_t* base = device.write<uint8_t>(workspace);
  const ClaheBuffers buffers = {section<ImageStats>(base, at.stats), base + at.bins,
                                section<uint16_t>(base, at.maps), section<int16_t>(base, at.levels)};
  memset_async("clear statistics", buffers.stats, 0, planes.batch * sizeof(ImageStats), device.stream());
  launch_clahe(device, image, settings.clip_limit, buffers);
  launch_level_histogram(device, planes, buffers.levels, buffers.stats);
  const Components dark = components_at(base, planes, at.dark);
  launch_bands<Morphology::kOpening>("open_dark", device, planes,
                                     DarkSource{buffers.levels, buffers.stats, dark.shape, 0, 0},
                                     LabelSink{dark});
  launch_join(device, planes, dark, true);
  const Components dilated = components_at(base, planes, at.dilated);
  launch_bands<Morphology::kDilation>("clear_border_and_dilate", device, planes,
                                      FilteredSource<TouchesBorder>{dark, {}}, LabelSink{dilated});
  launch_removal(device, planes, dilated, settings.min_area, device.write<uint8_t>(mask));
}

Tensor segment_lungs(const Tensor& image, double clip_limit, int64_t min_area, bool bounding_box) {
  check_planes(image, 1);
  check_clip_limit(clip_limit);
  const Planes planes = planes_of(image);
  const Settings settings = {clip_limit, area_limit(min_area), bounding_box};
  OnDevice device(image);
  Tensor mask = empty_planes(device, planes, ScalarType::Bool);
  if (planes.batch == 0) return mask;
  if (labels_fit(planes.height, planes.width)) {
    const FusedPlan plan = fused_plan(planes.height, planes.width, clip_limit, settings.min_area, false);
    if (plan.bytes <= max_shared_bytes()) {
      segment_fused(device, image, settings, plan, mask);
      return mask;
    }
  }
  segment_large(device, image, settings, mask);
  return mask;
}

}  // namespace
}  // namespace anatpaste

ANATPASTE_REGISTER(m) { m.impl("segment_lungs", TORCH_BOX(&anatpaste::segment_lungs)); }
