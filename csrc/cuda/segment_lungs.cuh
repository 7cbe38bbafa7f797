// Lung segmentation (Algorithm 1) of one image by one block, from pixels to mask, in shared memory. Each step
// of the algorithm is a function here; segment_lungs_kernel reads as the algorithm does.
#pragma once

#include "block_labels.cuh"
#include "clahe_maps.cuh"
#include "level_bins.cuh"
#include "otsu_split.cuh"
#include "packed_mask.cuh"
#include "small_components.cuh"

namespace anatpaste {

constexpr int kFusedThreads = 1024;
constexpr int kFusedWarps = kFusedThreads / kWarpSize;

// A node's word: its parent below, above it its component's area if it is a root. 16,384 blocks and the
// outside need 15 bits, their 65,536 pixels the other 17.
constexpr uint32_t kLabelBits = 15;
constexpr uint32_t kLabelMask = (1u << kLabelBits) - 1u;
constexpr int64_t kMaxBlocks = 16384;

// What the fused kernel needs to know; the same for all images of a batch.
struct FusedPlan {
  TileGrid grid;
  MapRule rule;
  MaskShape mask;
  BlockShape blocks;
  int32_t blend;      // kShift: the shift; kDivide: unused
  float tile_pixels;  // kDivide
  int32_t min_area;
  bool aligned;  // images and masks may be read and written 16 bytes at a time
  // Shared memory: bins, later labels | tile maps, later two masks | the rest.
  int32_t maps_at, rest_at, bytes;
};

struct FusedRest {
  int32_t histogram[kOtsuBins];
  SplitScratch split;
  int32_t range[kRangeScratch];
  uint8_t bin_of[256];  // of each uint8 value
};

inline int32_t align16(int64_t bytes) { return static_cast<int32_t>((bytes + 15) / 16 * 16); }

// Whether one block can hold such an image at all, whatever its shared memory; keeps the sums below in range.
inline bool labels_fit(int32_t height, int32_t width) {
  return int64_t{ceil_div(height, 2)} * ceil_div(width, 2) <= kMaxBlocks;
}

inline FusedPlan fused_plan(int32_t height, int32_t width, double clip_limit, int64_t min_area,
                            bool aligned) {
  FusedPlan plan{};
  plan.grid = tile_grid(height, width);
  const int32_t tile_pixels = plan.grid.y.tile * plan.grid.x.tile;
  plan.rule = map_rule(clip_limit, tile_pixels);
  plan.mask = mask_shape(height, width);
  plan.blocks = block_shape(plan.mask);
  plan.blend = log2_floor(tile_pixels);
  plan.tile_pixels = static_cast<float>(tile_pixels);
  plan.min_area = static_cast<int32_t>(min_of(min_area, int64_t{0x7fffffff}));
  plan.aligned = aligned;
  const int64_t pixels = int64_t{height} * width, nodes = plan.blocks.nodes();
  const int64_t maps = int64_t{plan.grid.y.count} * plan.grid.x.count * kUsedBins * sizeof(uint16_t);
  const int64_t masks = int64_t{height} * plan.mask.words * 2 * sizeof(uint32_t);
  plan.maps_at = align16(max_of(pixels, nodes * int64_t{sizeof(uint32_t)}));
  plan.rest_at = plan.maps_at + align16(max_of(maps, masks));
  plan.bytes = plan.rest_at + align16(sizeof(FusedRest));
  return plan;
}

// Typed windows into the block's shared memory.
struct FusedMemory {
  uint8_t* bins;     // (H, W)
  uint16_t* depths;  // staged 16-bit pixels, over bins and maps
  uint32_t* labels;  // one a node, in the bins' place
  uint16_t* maps;    // (tile rows, tile columns, kUsedBins)
  uint32_t* counts;  // the same memory, two 16-bit counts a word
  uint32_t* mask;    // (H, words), in the maps' place
  uint32_t* other;   // a second one
  FusedRest* rest;
  int32_t staged;  // pixels that `depths` has room for
};

__device__ __forceinline__ FusedMemory fused_memory(const FusedPlan& plan) {
  const int32_t pixels = plan.mask.height * plan.mask.width, words = plan.mask.height * plan.mask.words;
  const int32_t nodes = plan.blocks.nodes();
  const int32_t maps = plan.grid.y.count * plan.grid.x.count * kUsedBins;
  const int32_t staged = min_of(pixels, plan.rest_at / 2);
  return {dynamic_shared<uint8_t>(0, pixels),
          dynamic_shared<uint16_t>(0, staged),
          dynamic_shared<uint32_t>(0, nodes),
          dynamic_shared<uint16_t>(plan.maps_at, maps),
          dynamic_shared<uint32_t>(plan.maps_at, (maps + 1) / 2),
          dynamic_shared<uint32_t>(plan.maps_at, words),
          dynamic_shared<uint32_t>(plan.maps_at + words * sizeof(uint32_t), words),
          dynamic_shared<FusedRest>(plan.rest_at, 1),
          staged};
}

// ---- 1. CLAHE: pixels to bins, bins to tile maps, maps to levels ----

// uint8: stage the pixels in the bins' place, then look each up in a table.
__device__ __forceinline__ void find_bins(const uint8_t* __restrict__ image, const FusedPlan& plan,
                                          const FusedMemory& memory) {
  const int32_t thread = static_cast<int32_t>(threadIdx.x);
  const int32_t pixels = plan.mask.height * plan.mask.width;
  Range range = empty_range();
  for_each_pixel(image, pixels, thread, kFusedThreads, plan.aligned, [&](int32_t i, uint8_t pixel) {
    widen(range, pixel);
    memory.bins[i] = pixel;
  });
  range = block_range(range, memory.rest->range);
  if (thread < 256) {
    const int32_t value = clamp_to(thread, range.low, range.high);
    const BinScale scale = bin_scale({257 * range.low, 257 * range.high});
    memory.rest->bin_of[thread] = bin_at_depth(257 * value, scale);
  }
  sync_block();
  for (int32_t i = thread; i < pixels; i += kFusedThreads)
    memory.bins[i] = memory.rest->bin_of[memory.bins[i]];
  sync_block();
}

// Other types: stage 16-bit values as far as there is room and take the rest from the image
// again. Bins overwrite staged values from below, two pixels' bins for one value, so only
// values that have been read already.
template <typename T>
__device__ __forceinline__ void find_bins(const T* __restrict__ image, const FusedPlan& plan,
                                          const FusedMemory& memory) {
  const int32_t thread = static_cast<int32_t>(threadIdx.x);
  const int32_t pixels = plan.mask.height * plan.mask.width;
  Range range = empty_range();
  for_each_pixel(image, pixels, thread, kFusedThreads, plan.aligned, [&](int32_t i, T pixel) {
    const int32_t depth = depth_of(pixel);
    widen(range, depth);
    if (i < memory.staged) memory.depths[i] = static_cast<uint16_t>(depth);
  });
  const BinScale scale = bin_scale(block_range(range, memory.rest->range));
  for (int32_t begin = 0; begin < pixels; begin += kFusedThreads) {
    const int32_t i = begin + thread;
    int32_t depth = 0;
    if (i < memory.staged) {
      depth = memory.depths[i];
    } else if (i < pixels) {
      depth = depth_of(image[i]);
    }
    sync_block();
    if (i < pixels) memory.bins[i] = bin_at_depth(depth, scale);
  }
  sync_block();
}

// Adds a run of pixels of one bin to a tile's histogram: entry e is half e % 2 of word e / 2. A tile of the
// fused kernel has at most 1024 pixels, so no half overflows.
__device__ __forceinline__ void add_to_half(uint32_t* counts, int32_t entry, int32_t length) {
  atomic_add(counts + entry / 2, static_cast<uint32_t>(length) << (entry % 2 * 16));
}

// A warp takes a tile, a lane one of its columns.
__device__ __forceinline__ void count_tile(const FusedPlan& plan, const FusedMemory& memory, int32_t tile) {
  const TileAxis &y_axis = plan.grid.y, &x_axis = plan.grid.x;
  const int32_t first_y = tile / x_axis.count * y_axis.tile, first_x = tile % x_axis.count * x_axis.tile;
  const auto flush = [&](int32_t bin, int32_t length) {
    add_to_half(memory.counts, tile * kUsedBins + bin, length);
  };
  for (int32_t x = lane_id(); x < x_axis.tile; x += kWarpSize) {
    const uint8_t* column = memory.bins + reflect(first_x + x, x_axis.size);
    RunCounter run;
    for (int32_t y = first_y; y < first_y + y_axis.tile; ++y) {
      run.add(column[reflect(y, y_axis.size) * x_axis.size], flush);
    }
    run.finish(flush);
  }
}

// A warp turns a tile's counts into its map, in place.
__device__ __forceinline__ void map_tile(const FusedPlan& plan, const FusedMemory& memory, int32_t tile) {
  const int32_t first_bin = lane_id() * kLaneBins;
  uint16_t* map = memory.maps + tile * kUsedBins;
  int32_t counts[kLaneBins];
#pragma unroll
  for (int k = 0; k < kLaneBins; ++k) counts[k] = first_bin + k < kUsedBins ? map[first_bin + k] : 0;
  counts_to_levels(counts, plan.rule);
#pragma unroll
  for (int k = 0; k < kLaneBins; ++k) {
    if (first_bin + k < kUsedBins) map[first_bin + k] = static_cast<uint16_t>(counts[k]);
  }
}

__device__ __forceinline__ void find_maps(const FusedPlan& plan, const FusedMemory& memory) {
  const int32_t tiles = plan.grid.y.count * plan.grid.x.count;
  const int32_t words = (tiles * kUsedBins + 1) / 2;
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < words; i += kFusedThreads) memory.counts[i] = 0;
  sync_block();
  for (int32_t tile = warp_id(); tile < tiles; tile += kFusedWarps) count_tile(plan, memory, tile);
  sync_block();
  for (int32_t tile = warp_id(); tile < tiles; tile += kFusedWarps) map_tile(plan, memory, tile);
  sync_block();
}

// Calls visit(y, first x of 32, inside, level) for all pixels, a warp 32 neighbours of a row together, one a
// lane. Levels are computed anew each time: there is no room for them.
template <Blend form, typename Visit>
__device__ __forceinline__ void for_each_level(const FusedPlan& plan, const FusedMemory& memory,
                                               const Visit& visit) {
  const TileGrid& grid = plan.grid;
  const int32_t tile_row = grid.x.count * kUsedBins;
  for (int32_t y = warp_id(); y < plan.mask.height; y += kFusedWarps) {
    const TilePosition at_y = position_on(grid.y, grid.y_tile, y);
    const AxisWeights y_weights = weights_at(at_y, grid.y);
    const uint16_t* upper = memory.maps + at_y.before * tile_row;
    const uint16_t* lower = memory.maps + at_y.after * tile_row;
    const uint8_t* bins = memory.bins + y * plan.mask.width;
    for (int32_t begin = 0; begin < plan.mask.width; begin += kWarpSize) {
      const int32_t x = begin + lane_id();
      const bool inside = x < plan.mask.width;
      int32_t level = 0;
      if (inside) {
        const TilePosition at_x = position_on(grid.x, grid.x_tile, x);
        const Corners corners = corners_at(upper, lower, kUsedBins, at_x, bins[x]);
        const AxisWeights x_weights = weights_at(at_x, grid.x);
        level = form == Blend::kShift ? blend_shift(corners, y_weights, x_weights, plan.blend)
                                      : blend_divide(corners, y_weights, x_weights, plan.tile_pixels);
      }
      visit(y, begin, inside, level);
    }
  }
}

// ---- 2. Otsu: keep the dark pixels ----

template <Blend form>
__device__ __forceinline__ Range level_range(const FusedPlan& plan, const FusedMemory& memory) {
  Range range = empty_range();
  for_each_level<form>(plan, memory, [&](int32_t, int32_t, bool inside, int32_t level) {
    if (inside) widen(range, level);
  });
  return block_range(range, memory.rest->range);
}

// The largest dark level.
template <Blend form>
__device__ __forceinline__ int32_t otsu_ceiling(const FusedPlan& plan, const FusedMemory& memory,
                                                const Range& levels) {
  int32_t* histogram = memory.rest->histogram;
  if (threadIdx.x < kOtsuBins) histogram[threadIdx.x] = 0;
  sync_block();
  const OtsuScale scale = otsu_scale(levels);
  const auto flush = [&](int32_t bin, int32_t length) { atomic_add(&histogram[bin], length); };
  RunCounter run;
  for_each_level<form>(plan, memory, [&](int32_t, int32_t, bool inside, int32_t level) {
    if (inside) run.add(otsu_bin_of(level, scale), flush);
  });
  run.finish(flush);
  sync_block();
  const int32_t bin = find_split(histogram, &memory.rest->split);
  return dark_ceiling(levels.low, levels.high, levels.low == levels.high ? -1 : bin);
}

// The dark pixels as bits. Their words are first parked in place of the bins that they come from, since the
// maps, whose place they are to take, are in use until the last pixel is done.
template <Blend form>
__device__ __forceinline__ void keep_dark(const FusedPlan& plan, const FusedMemory& memory,
                                          const Range& levels, int32_t ceiling) {
  const int32_t width = plan.mask.width;
  for_each_level<form>(plan, memory, [&](int32_t y, int32_t begin, bool inside, int32_t level) {
    const uint32_t word = ballot(kFullMask, inside && is_dark(level, levels.low, ceiling));
    if (lane_id() < 4 && inside && begin + 8 * lane_id() < width) {
      memory.bins[y * width + begin + lane_id()] = static_cast<uint8_t>(word >> 8 * lane_id());
    }
  });
  sync_block();
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < plan.mask.height * plan.mask.words;
       i += kFusedThreads) {
    const int32_t y = i / plan.mask.words, begin = (i - y * plan.mask.words) * kWarpSize;
    const uint8_t* parked = memory.bins + y * width + begin;
    uint32_t word = 0;
#pragma unroll
    for (int byte = 0; byte < 4; ++byte) {
      if (begin + 8 * byte < width) word |= static_cast<uint32_t>(parked[byte]) << 8 * byte;
    }
    memory.mask[i] = word;
  }
  sync_block();
}

// ---- 3., 5. Binary opening, dilation ----

__device__ __forceinline__ void erode(const uint32_t* from, uint32_t* to, const MaskShape& shape) {
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < shape.height * shape.words; i += kFusedThreads) {
    const int32_t y = i / shape.words, word = i - y * shape.words;
    const auto ones_outside = [&](int row, int column) {
      const int32_t at_y = y + row, at_word = word + column;
      if (at_y < 0 || at_y >= shape.height || at_word < 0 || at_word >= shape.words) return kFullMask;
      return from[at_y * shape.words + at_word] | ~inside_bits(shape, at_word);
    };
    to[i] = erode_word(ones_outside) & inside_bits(shape, word);
  }
  sync_block();
}

__device__ __forceinline__ void dilate(const uint32_t* from, uint32_t* to, const MaskShape& shape) {
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < shape.height * shape.words; i += kFusedThreads) {
    const int32_t y = i / shape.words, word = i - y * shape.words;
    const auto zeros_outside = [&](int row, int column) {
      return word_or_zero(from, shape, y + row, word + column);
    };
    to[i] = dilate_word(zeros_outside) & inside_bits(shape, word);
  }
  sync_block();
}

// ---- 4., 6., 7. Components ----

template <typename Visit>
__device__ __forceinline__ void for_each_block(const FusedPlan& plan, const Visit& visit) {
  for_each_block(plan.blocks, 0, plan.blocks.rows, warp_id(), kFusedWarps, visit);
}

template <bool with_border>
__device__ __forceinline__ void label_components(const FusedPlan& plan, const FusedMemory& memory) {
  if (threadIdx.x == 0) memory.labels[kOutside] = kOutside;
  for_each_block(plan, [&](const BlockLane& lane) {
    if (lane.inside) memory.labels[lane.node] = first_parent(memory.mask, plan.mask, lane);
  });
  sync_block();
  for_each_block(plan, [&](const BlockLane& lane) {
    if (!lane.inside) return;
    join_neighbours(memory.labels, memory.mask, plan.mask, plan.blocks, lane);
    if (with_border) join_border(memory.labels, memory.mask, plan.mask, lane);
  });
  sync_block();
}

// Copies the blocks with keep(lane) from `mask` to `other`.
template <typename Keep>
__device__ __forceinline__ void copy_blocks(const FusedPlan& plan, const FusedMemory& memory,
                                            const Keep& keep) {
  for_each_block(plan, [&](const BlockLane& lane) {
    const uint32_t kept = kept_bits(lane.inside && keep(lane), lane_id());
    if (!lane.inside || lane.k != 0) return;
    const int32_t i = 2 * lane.row * plan.mask.words + lane.word;
    memory.other[i] = memory.mask[i] & kept;
    if (2 * lane.row + 1 < plan.mask.height) {
      memory.other[i + plan.mask.words] = memory.mask[i + plan.mask.words] & kept;
    }
  });
  sync_block();
}

// `mask` to `other`
__device__ __forceinline__ void clear_border(const FusedPlan& plan, const FusedMemory& memory) {
  label_components<true>(plan, memory);
  copy_blocks(plan, memory, [&](const BlockLane& lane) {
    return find_root<kAllBits>(memory.labels, lane.node) != kOutside;
  });
}

// Every node then has its root as parent, and every root its area.
__device__ __forceinline__ void measure_areas(const FusedPlan& plan, const FusedMemory& memory, Box* boxes) {
  for_each_block(plan, [&](const BlockLane& lane) {
    const uint32_t pixels = lane.inside ? block_pixels(memory.mask, plan.mask, lane) : 0u;
    const uint32_t root = pixels != 0 ? find_root<kLabelMask>(memory.labels, lane.node) : 0u;
    // Others may be on their way through this node, and get to the root by either parent: a plain store would
    // do, but no tool could know that. A parent is larger than its root, and only roots hold areas.
    if (pixels != 0 && root != lane.node) atomic_min(memory.labels + lane.node, root);
    for_each_key(pixels != 0, root, [&](uint32_t key, bool member) {
      const uint32_t area = reduce_add(kFullMask, member ? static_cast<uint32_t>(popc(pixels)) : 0u);
      if (lane_id() == 0) atomic_add(memory.labels + key, area << kLabelBits);
    });
    if (boxes != nullptr) grow_boxes(boxes, plan.mask, lane, pixels, root);
  });
  sync_block();
}

__device__ __forceinline__ bool is_small(const FusedPlan& plan, const FusedMemory& memory, uint32_t root) {
  return static_cast<int32_t>(memory.labels[root] >> kLabelBits) < plan.min_area;
}

// Zeroes small components' own pixels: `mask` to `other`.
__device__ __forceinline__ void remove_small_pixels(const FusedPlan& plan, const FusedMemory& memory) {
  label_components<false>(plan, memory);
  measure_areas(plan, memory, nullptr);
  copy_blocks(plan, memory, [&](const BlockLane& lane) {
    return !is_small(plan, memory, memory.labels[lane.node] & kLabelMask);
  });
}

// Zeroes small components' bounding boxes in `mask`. boxes: one a node, in global memory.
__device__ __forceinline__ void remove_small_boxes(const FusedPlan& plan, const FusedMemory& memory,
                                                   Box* boxes) {
  for_each_block(plan, [&](const BlockLane& lane) {
    if (lane.inside) boxes[lane.node] = empty_box();
  });
  label_components<false>(plan, memory);
  measure_areas(plan, memory, boxes);
  // All roots and areas have been read for the last time before a bit is cleared that they came from: labels
  // are apart.
  for_each_block(plan, [&](const BlockLane& lane) {
    const uint32_t area = lane.inside ? memory.labels[lane.node] >> kLabelBits : 0u;
    const bool small_root = area > 0 && static_cast<int32_t>(area) < plan.min_area;
    clear_small_boxes(memory.mask, plan.mask, boxes, lane.node, small_root);
  });
  sync_block();
}

// ---- bits to bytes ----

__device__ __forceinline__ void store_mask(const uint32_t* bits, const FusedPlan& plan,
                                           uint8_t* __restrict__ mask) {
  const MaskShape& shape = plan.mask;
  if (plan.aligned && shape.width % kWarpSize == 0) {
    const int32_t chunks = shape.height * shape.width / 16;
    for (int32_t i = static_cast<int32_t>(threadIdx.x); i < chunks; i += kFusedThreads) {
      const uint32_t half = bits[i / 2] >> (i % 2 * 16);
      store16(mask + 16 * i, uint4{bits_to_bytes(half), bits_to_bytes(half >> 4), bits_to_bytes(half >> 8),
                                   bits_to_bytes(half >> 12)});
    }
    return;
  }
  for (int32_t y = warp_id(); y < shape.height; y += kFusedWarps) {
    for (int32_t x = lane_id(); x < shape.width; x += kWarpSize) {
      mask[y * shape.width + x] =
          static_cast<uint8_t>(bits[y * shape.words + x / kWarpSize] >> lane_id() & 1u);
    }
  }
}

template <typename T, Blend form>
__global__ void __launch_bounds__(kFusedThreads, 1)
    segment_lungs_kernel(const T* __restrict__ images,  // (B, H, W)
                         uint8_t* __restrict__ masks,   // (B, H, W), 0 or 1
                         Box* __restrict__ boxes,       // (B, nodes), or null: zero own pixels
                         FusedPlan plan) {
  const FusedMemory memory = fused_memory(plan);
  const int64_t first = static_cast<int64_t>(blockIdx.x) * plan.mask.height * plan.mask.width;
  find_bins(images + first, plan, memory);
  find_maps(plan, memory);
  const Range levels = level_range<form>(plan, memory);
  const int32_t ceiling = otsu_ceiling<form>(plan, memory, levels);
  keep_dark<form>(plan, memory, levels, ceiling);
  erode(memory.mask, memory.other, plan.mask);
  dilate(memory.other, memory.mask, plan.mask);
  clear_border(plan, memory);
  dilate(memory.other, memory.mask, plan.mask);
  if (boxes == nullptr) {
    remove_small_pixels(plan, memory);
    store_mask(memory.other, plan, masks + first);
  } else {
    remove_small_boxes(plan, memory, boxes + static_cast<int64_t>(blockIdx.x) * plan.blocks.nodes());
    store_mask(memory.mask, plan, masks + first);
  }
}

}  // namespace anatpaste
