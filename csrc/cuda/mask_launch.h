// What the launchers of lung segmentation share: checks, shapes, workspaces, and the steps that several of
// them take.
#pragma once

#include "component_bands.cuh"
#include "launch_arguments.h"
#include "launcher.h"

namespace anatpaste {

// B planes of height x width.
struct Planes {
  int64_t batch;
  int32_t height, width;

  int64_t pixels() const { return int64_t{height} * width; }
};

inline Planes planes_of(const Tensor& tensor) {
  return {tensor.size(0), static_cast<int32_t>(tensor.size(2)), static_cast<int32_t>(tensor.size(3))};
}

// The last line of defence, as in launch_arguments.h.
inline void check_planes(const Tensor& tensor, int64_t channels) {
  check_image(tensor);
  STD_TORCH_CHECK(tensor.size(1) == channels, "image must have shape (B,", channels, ",H,W)");
}

inline void check_clip_limit(double clip_limit) {
  STD_TORCH_CHECK(clip_limit > 0.0 && clip_limit <= 1.0, "clip_limit must lie in (0, 1]");
}

inline void check_mask(const Tensor& mask) {
  STD_TORCH_CHECK(mask.scalar_type() == ScalarType::Bool, "mask must be bool");
  check_planes(mask, 1);
}

// Areas beyond int32 remove everything, as the largest int32 does: an image has at most 2^30 pixels.
inline int32_t area_limit(int64_t min_area) {
  return static_cast<int32_t>(clamp_to(min_area, int64_t{0}, int64_t{0x7fffffff}));
}

inline Tensor empty_planes(OnDevice& device, const Planes& planes, ScalarType type) {
  return device.empty({planes.batch, 1, planes.height, planes.width}, type);
}

// `each` blocks an image. Numbers of blocks are 32-bit; so many would mean images beyond any device's memory.
inline dim3 grid_of(int64_t batch, int64_t each) {
  STD_TORCH_CHECK(batch * each < (int64_t{1} << 31), "the batch is too large for one launch: split it");
  return dim3(static_cast<unsigned>(batch * each));
}

// Whether rows of planes can be accessed 16 bytes at a time, whatever the plane.
inline bool is_aligned(const void* data, int64_t plane_bytes) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && plane_bytes % 16 == 0;
}

// One allocation, cut into sections that start at multiples of 256 bytes.
class Sections {
 public:
  // Returns where a section of `bytes` bytes begins.
  int64_t add(int64_t bytes) {
    const int64_t at = bytes_;
    bytes_ += ceil_div(bytes, int64_t{256}) * 256;
    return at;
  }
  int64_t bytes() const { return bytes_; }

 private:
  int64_t bytes_ = 0;
};

template <typename T>
T* section(uint8_t* base, int64_t at) {
  return reinterpret_cast<T*>(base + at);
}

// The sections of one `Components`.
struct ComponentSections {
  int64_t mask = -1, labels = -1, areas = -1, boxes = -1, firsts = -1;
};

inline int64_t mask_words(const Planes& planes) {
  return planes.batch * planes.height * ceil_div(planes.width, int32_t{kWarpSize});
}
inline int64_t nodes_of(const Planes& planes) {
  return planes.batch * block_shape(mask_shape(planes.height, planes.width)).nodes();
}

inline Components components_at(uint8_t* base, const Planes& planes, const ComponentSections& at) {
  const MaskShape shape = mask_shape(planes.height, planes.width);
  return {section<uint32_t>(base, at.mask),
          section<uint32_t>(base, at.labels),
          at.areas < 0 ? nullptr : section<int32_t>(base, at.areas),
          at.boxes < 0 ? nullptr : section<Box>(base, at.boxes),
          at.firsts < 0 ? nullptr : section<int32_t>(base, at.firsts),
          shape,
          block_shape(shape)};
}

template <Morphology morphology, typename Source, typename Sink>
void launch_bands(const char* name, OnDevice& device, const Planes& planes, const Source& source,
                  const Sink& sink) {
  const BandShape shape = band_shape(mask_shape(planes.height, planes.width));
  launch(name, mask_band_kernel<morphology, Source, Sink>,
         grid_of(planes.batch, int64_t{shape.rows} * shape.columns), dim3(kBandThreads), 0, device.stream(),
         source, sink, shape);
}

// Launches a kernel whose warps take rows of 2 x 2 blocks.
template <typename... P, typename... A>
void launch_nodes(const char* name, OnDevice& device, const Planes& planes, void (*kernel)(Components, P...),
                  const Components& components, A&&... args) {
  launch(name, kernel, grid_of(planes.batch, node_slices(components.blocks)), dim3(kNodeThreads), 0,
         device.stream(), components, static_cast<A&&>(args)...);
}

// A mask op of one launch.
template <Morphology morphology>
Tensor change_masks(const char* name, const Tensor& mask) {
  check_mask(mask);
  const Planes planes = planes_of(mask);
  OnDevice device(mask);
  Tensor changed = empty_planes(device, planes, ScalarType::Bool);
  if (planes.batch == 0) return changed;
  const MaskShape shape = mask_shape(planes.height, planes.width);
  launch_bands<morphology>(name, device, planes, ByteSource{device.read<uint8_t>(mask), shape},
                           ByteSink{device.write<uint8_t>(changed), shape});
  return changed;
}

// ---- steps that segment_lungs takes with the op they belong to; defined beside that op ----

// What CLAHE reads and writes in global memory.
struct ClaheBuffers {
  ImageStats* stats;  // (B,), zeroed
  uint8_t* bins;      // (B, H, W)
  uint16_t* maps;     // (B, tiles, kBins)
  int16_t* levels;    // (B, H, W)
};

// Bytes of the maps.
int64_t clahe_map_bytes(const Planes& planes);
void launch_clahe(OnDevice& device, const Tensor& image, double clip_limit, const ClaheBuffers& buffers);
// The levels' range must have been noted.
void launch_level_histogram(OnDevice& device, const Planes& planes, const int16_t* levels, ImageStats* stats);
// From started labels to joined ones; with_border: the root of components that
// touch the border is the outside.
void launch_join(OnDevice& device, const Planes& planes, const Components& components, bool with_border);
// Areas, and what else the components have room for, of joined labels.
void launch_measure(OnDevice& device, const Planes& planes, const Components& components);
// From started labels with areas (and boxes, to zero those) to bytes without small components.
void launch_removal(OnDevice& device, const Planes& planes, const Components& components, int64_t min_area,
                    uint8_t* masks);

}  // namespace anatpaste
