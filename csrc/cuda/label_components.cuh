// Labels of components, in steps: join neighbouring blocks, measure what was joined, number the components as
// scipy.ndimage.label does, in raster order of their first pixels. For that those pixels are marked in a bit
// mask; a component's number is the count of marks up to its own. Only label_components.cu includes this.
#pragma once

#include "component_bands.cuh"

namespace anatpaste {

template <bool with_border>
__global__ void __launch_bounds__(kNodeThreads) join_kernel(Components components) {
  for_each_block_here(components, [&](const Components& own, const BlockLane& lane) {
    if (!lane.inside) return;
    join_neighbours(own.labels, own.mask, own.shape, own.blocks, lane);
    if (with_border) join_border(own.labels, own.mask, own.shape, lane);
  });
}

// The first pixel of a block with pixels, by its number in the image.
__device__ __forceinline__ int32_t first_pixel(const MaskShape& shape, const BlockLane& lane,
                                               uint32_t pixels) {
  const int32_t bit = ffs(pixels) - 1;
  return (2 * lane.row + bit / 2) * shape.width + 2 * lane.column + bit % 2;
}

__global__ void __launch_bounds__(kNodeThreads) measure_kernel(Components components) {
  for_each_block_here(components, [&](const Components& own, const BlockLane& lane) {
    const uint32_t pixels = lane.inside ? block_pixels(own.mask, own.shape, lane) : 0u;
    const uint32_t root = pixels != 0 ? own.root(lane.node) : 0u;
    const int32_t first =
        own.firsts != nullptr && pixels != 0 ? first_pixel(own.shape, lane, pixels) : kNoPixel;
    for_each_key(pixels != 0, root, [&](uint32_t key, bool member) {
      const int32_t area = reduce_add(kFullMask, member ? popc(pixels) : 0);
      if (lane_id() == 0) atomic_add(&own.areas[key], area);
      if (own.firsts == nullptr) return;
      const int32_t earliest = reduce_min(kFullMask, member ? first : kNoPixel);
      if (lane_id() == 0) atomic_min(&own.firsts[key], earliest);
    });
    if (own.boxes != nullptr) grow_boxes(own.boxes, own.shape, lane, pixels, root);
  });
}

// marks: (B, H, words)
__global__ void __launch_bounds__(kNodeThreads)
    mark_firsts_kernel(Components components, uint32_t* __restrict__ marks) {
  for_each_block_here(components, [&](const Components& own, const BlockLane& lane) {
    uint32_t mark = 0;
    const uint32_t pixels = lane.inside ? block_pixels(own.mask, own.shape, lane) : 0u;
    if (pixels != 0 && own.firsts[own.root(lane.node)] == first_pixel(own.shape, lane, pixels)) {
      mark = 1u << (ffs(pixels) - 1);
    }
    const unsigned half = lane_id() < kWordBlocks ? 0x0000ffffu : 0xffff0000u;
    const uint32_t top = reduce_or(half, (mark & 3u) << (2 * lane.k));
    const uint32_t bottom = reduce_or(half, (mark >> 2) << (2 * lane.k));
    if (lane.k != 0 || !lane.inside) return;
    const int64_t image = (own.mask - components.mask) / (own.shape.height * own.shape.words);
    uint32_t* to = marks + (image * own.shape.height + 2 * lane.row) * own.shape.words + lane.word;
    to[0] = top;
    if (2 * lane.row + 1 < own.shape.height) to[own.shape.words] = bottom;
  });
}

constexpr int kCountThreads = 1024;

// One block an image. below: marks in the words before each one; areas[0]: the background.
__global__ void __launch_bounds__(kCountThreads)
    count_marks_kernel(const uint32_t* __restrict__ marks,  // (B, H, words)
                       const uint32_t* __restrict__ masks,  // (B, H, words)
                       int32_t* __restrict__ below,         // (B, H, words)
                       int32_t* __restrict__ areas,         // (B, nodes), zeroed
                       MaskShape shape, int32_t nodes) {
  ANATPASTE_SHARED(int32_t, sums, kMaxWarps);
  ANATPASTE_SHARED(int32_t, pixels, 1);
  const int32_t words = shape.height * shape.words;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * words;
  // A thread takes a stretch of neighbouring words.
  const int32_t each = ceil_div(words, int32_t{kCountThreads});
  const int32_t begin = min_of(static_cast<int32_t>(threadIdx.x) * each, words);
  const int32_t end = min_of(begin + each, words);
  int32_t own_marks = 0, own_pixels = 0;
  for (int32_t i = begin; i < end; ++i) {
    own_marks += popc(marks[first + i]);
    own_pixels += popc(masks[first + i]);
  }
  if (threadIdx.x == 0) pixels[0] = 0;
  int32_t count = warp_sum_below(own_marks);
  if (lane_id() == kWarpSize - 1) sums[warp_id()] = count + own_marks;
  sync_block();
  for (int32_t warp = 0; warp < warp_id(); ++warp) count += sums[warp];
  for (int32_t i = begin; i < end; ++i) {
    below[first + i] = count;
    count += popc(marks[first + i]);
  }
  own_pixels = reduce_add(kFullMask, own_pixels);
  if (lane_id() == 0) atomic_add(&pixels[0], own_pixels);
  sync_block();
  if (threadIdx.x == 0) {
    areas[static_cast<int64_t>(blockIdx.x) * nodes] = shape.height * shape.width - pixels[0];
  }
}

struct NumberOutputs {
  const uint32_t* __restrict__ marks;  // (B, H, words)
  const int32_t* __restrict__ below;   // (B, H, words)
  int32_t* __restrict__ labels;        // (B, H, W)
  int32_t* __restrict__ areas;         // (B, nodes)
};

__global__ void __launch_bounds__(kNodeThreads) number_kernel(Components components, NumberOutputs out) {
  for_each_block_here(components, [&](const Components& own, const BlockLane& lane) {
    if (!lane.inside) return;
    const MaskShape& shape = own.shape;
    const int64_t image = (own.mask - components.mask) / (shape.height * shape.words);
    const uint32_t pixels = block_pixels(own.mask, shape, lane);
    int32_t number = 0;
    if (pixels != 0) {
      const uint32_t root = own.root(lane.node);
      const int32_t first = own.firsts[root], y = first / shape.width, x = first - y * shape.width;
      const int64_t word = (image * shape.height + y) * shape.words + x / kWarpSize;
      const uint32_t before = out.marks[word] & ((1u << x % kWarpSize) - 1u);
      number = out.below[word] + popc(before) + 1;
      if (root == lane.node) out.areas[image * own.blocks.nodes() + number] = own.areas[root];
    }
#pragma unroll
    for (int bit = 0; bit < 4; ++bit) {
      const int32_t y = 2 * lane.row + bit / 2, x = 2 * lane.column + bit % 2;
      if (y >= shape.height || x >= shape.width) continue;
      out.labels[(image * shape.height + y) * shape.width + x] = (pixels >> bit & 1u) != 0 ? number : 0;
    }
  });
}

}  // namespace anatpaste
