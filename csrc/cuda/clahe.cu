#include "clahe.cuh"
#include "mask_launch.h"

namespace anatpaste {
namespace {

void launch_equalize(OnDevice& device, const Planes& planes, const TileGrid& grid,
                     const ClaheBuffers& buffers) {
  const EqualizePlan plan = equalize_plan(grid);
  const auto run = [&](auto kernel) {
    launch("equalize", kernel, grid_of(planes.batch, int64_t{plan.column_blocks} * plan.row_blocks),
           dim3(kTileThreads), 0, device.stream(), buffers.bins, buffers.maps, buffers.levels, buffers.stats,
           plan);
  };
  switch (choose_blend(grid.y.tile, grid.x.tile)) {
    case Blend::kShift:
      return run(equalize_kernel<Blend::kShift>);
    case Blend::kScaled:
      return run(equalize_kernel<Blend::kScaled>);
    case Blend::kDivide:
      return run(equalize_kernel<Blend::kDivide>);
    case Blend::kDouble:
      return run(equalize_kernel<Blend::kDouble>);
  }
}

int64_t tiles_of(const TileGrid& grid) { return int64_t{grid.y.count} * grid.x.count; }

}  // namespace

int64_t clahe_map_bytes(const Planes& planes) {
  return planes.batch * tiles_of(tile_grid(planes.height, planes.width)) * kBins * int64_t{sizeof(uint16_t)};
}

void launch_clahe(OnDevice& device, const Tensor& image, double clip_limit, const ClaheBuffers& buffers) {
  const Planes planes = planes_of(image);
  const TileGrid grid = tile_grid(planes.height, planes.width);
  const MapRule rule = map_rule(clip_limit, grid.y.tile * grid.x.tile);
  const Slices slices = slices_of(planes.pixels());
  dispatch_pixel(image.scalar_type(), [&](auto pixel) {
    using T = decltype(pixel);
    const T* pixels = device.read<T>(image);
    const bool aligned = is_aligned(pixels, planes.pixels() * sizeof(T));
    launch("depth_range", depth_range_kernel<T>, grid_of(planes.batch, slices.count), dim3(kSliceThreads), 0,
           device.stream(), pixels, buffers.stats, slices, aligned);
    launch("tile_maps", tile_maps_kernel<T>, grid_of(planes.batch, tiles_of(grid)), dim3(kTileThreads), 0,
           device.stream(), pixels, buffers.stats, buffers.bins, buffers.maps, grid, rule);
  });
  launch_equalize(device, planes, grid, buffers);
}

namespace {

Tensor clahe(const Tensor& image, double clip_limit) {
  check_planes(image, 1);
  check_clip_limit(clip_limit);
  const Planes planes = planes_of(image);
  OnDevice device(image);
  Tensor levels = empty_planes(device, planes, ScalarType::Short);
  if (planes.batch == 0) return levels;
  Sections sections;
  const int64_t stats_at = sections.add(planes.batch * int64_t{sizeof(ImageStats)});
  const int64_t bins_at = sections.add(planes.batch * planes.pixels());
  const int64_t maps_at = sections.add(clahe_map_bytes(planes));
  Tensor workspace = device.empty({sections.bytes()}, ScalarType::Byte);
  uint8_t* base = device.write<uint8_t>(workspace);
  const ClaheBuffers buffers = {section<ImageStats>(base, stats_at), base + bins_at,
                                section<uint16_t>(base, maps_at), device.write<int16_t>(levels)};
  memset_async("clear statistics", buffers.stats, 0, planes.batch * sizeof(ImageStats), device.stream());
  launch_clahe(device, image, clip_limit, buffers);
  return levels;
}

}  // namespace
}  // namespace anatpaste

ANATPASTE_REGISTER(m) { m.impl("clahe", TORCH_BOX(&anatpaste::clahe)); }
