#include "mask_launch.h"
#include "otsu_threshold.cuh"

namespace anatpaste {

void launch_level_histogram(OnDevice& device, const Planes& planes, const int16_t* levels,
                            ImageStats* stats) {
  const Slices slices = slices_of(planes.pixels());
  launch("level_histogram", level_histogram_kernel, grid_of(planes.batch, slices.count), dim3(kSliceThreads),
         0, device.stream(), levels, stats, slices);
}

namespace {

Tensor otsu_threshold(const Tensor& levels) {
  STD_TORCH_CHECK(levels.scalar_type() == ScalarType::Short, "levels must be int16");
  check_planes(levels, 1);
  const Planes planes = planes_of(levels);
  OnDevice device(levels);
  Tensor thresholds = device.empty({planes.batch, 3}, ScalarType::Int);
  if (planes.batch == 0) return thresholds;
  Tensor workspace = device.empty({planes.batch * int64_t{sizeof(ImageStats)}}, ScalarType::Byte);
  auto* stats = reinterpret_cast<ImageStats*>(device.write<uint8_t>(workspace));
  memset_async("clear statistics", stats, 0, planes.batch * sizeof(ImageStats), device.stream());
  const Slices slices = slices_of(planes.pixels());
  const auto* pixels = device.read<int16_t>(levels);
  launch("level_range", level_range_kernel, grid_of(planes.batch, slices.count), dim3(kSliceThreads), 0,
         device.stream(), pixels, stats, slices);
  launch_level_histogram(device, planes, pixels, stats);
  launch("otsu_split", otsu_split_kernel, grid_of(planes.batch, 1), dim3(kOtsuBins), 0, device.stream(),
         stats, device.write<int32_t>(thresholds));
  return thresholds;
}

}  // namespace
}  // namespace anatpaste

ANATPASTE_REGISTER(m) { m.impl("otsu_threshold", TORCH_BOX(&anatpaste::otsu_threshold)); }
