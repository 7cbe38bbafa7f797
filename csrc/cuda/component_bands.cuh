// Components of masks in global memory, over several launches: where bands of masks (mask_band.cuh) and
// union-find over 2 x 2 blocks (block_labels.cuh) meet.
#pragma once

#include "image_stats.cuh"
#include "mask_band.cuh"
#include "small_components.cuh"

namespace anatpaste {

// Masks as bits, and what is known of each of their nodes (2 x 2 blocks). Null: not wanted.
struct Components {
  uint32_t* mask;    // (B, H, words)
  uint32_t* labels;  // (B, nodes) parents
  int32_t* areas;    // (B, nodes) at roots
  Box* boxes;        // (B, nodes) at roots
  int32_t* firsts;   // (B, nodes) at roots: the component's first pixel in raster order
  MaskShape shape;
  BlockShape blocks;

  __device__ __forceinline__ Components of_image(int64_t image) const {
    const int64_t first = image * blocks.nodes();
    Components own = *this;
    own.mask += image * shape.height * shape.words;
    own.labels += first;
    if (areas != nullptr) own.areas += first;
    if (boxes != nullptr) own.boxes += first;
    if (firsts != nullptr) own.firsts += first;
    return own;
  }
  __device__ __forceinline__ uint32_t root(uint32_t node) const { return find_root<kAllBits>(labels, node); }
};

constexpr int32_t kNoPixel = 0x7fffffff;

// Stores masks as bits and starts their labels: each block's parent is the start of its run within its word.
struct LabelSink {
  Components components;

  __device__ __forceinline__ void store(int64_t image, int32_t first_y, int32_t first_word,
                                        const BandWords& band) const {
    const Components own = components.of_image(image);
    for (int32_t i = static_cast<int32_t>(threadIdx.x); i < kBandRows * band.count; i += kBandThreads) {
      const int32_t row = i / band.count, word = i - row * band.count;
      if (first_y + row >= own.shape.height) break;
      own.mask[(first_y + row) * own.shape.words + first_word + word] = band.at(row, word);
    }
    if (first_y == 0 && first_word == 0 && threadIdx.x == 0) start_node(own, kOutside, 0);
    const int32_t lanes = band.count * kWordBlocks;
    for (int32_t i = static_cast<int32_t>(threadIdx.x); i < kBandRows / 2 * lanes; i += kBandThreads) {
      const int32_t row = i / lanes, word = (i - row * lanes) / kWordBlocks, k = i % kWordBlocks;
      const int32_t block_row = first_y / 2 + row, column = (first_word + word) * kWordBlocks + k;
      if (block_row >= own.blocks.rows || column >= own.blocks.columns) continue;
      const int32_t start = run_start(band.at(2 * row, word), band.at(2 * row + 1, word), k);
      start_node(own, own.blocks.node_at(block_row, column), k - start);
    }
  }

  __device__ __forceinline__ static void start_node(const Components& own, int32_t node, int32_t to_start) {
    own.labels[node] = static_cast<uint32_t>(node - to_start);
    if (own.areas != nullptr) own.areas[node] = 0;
    if (own.boxes != nullptr) own.boxes[node] = empty_box();
    if (own.firsts != nullptr) own.firsts[node] = kNoPixel;
  }
};

// ---- one warp a row of blocks, eight rows a block ----

constexpr int kNodeThreads = 256;
constexpr int32_t kNodeRows = kNodeThreads / kWarpSize;

inline int32_t node_slices(const BlockShape& blocks) { return ceil_div(blocks.rows, kNodeRows); }

// Calls visit(the image's components, lane) for this block's rows of 2 x 2 blocks.
template <typename Visit>
__device__ __forceinline__ void for_each_block_here(const Components& components, const Visit& visit) {
  const int32_t slices = ceil_div(components.blocks.rows, kNodeRows);
  const int32_t image = static_cast<int32_t>(blockIdx.x) / slices;
  const int32_t row = (static_cast<int32_t>(blockIdx.x) - image * slices) * kNodeRows;
  const Components own = components.of_image(image);
  for_each_block(own.blocks, row, min_of(row + kNodeRows, own.blocks.rows), warp_id(), kNodeRows,
                 [&](const BlockLane& lane) { visit(own, lane); });
}

// ---- sources ----

// Masks less the blocks for which `drop` is true of (components, root).
template <typename Drop>
struct FilteredSource {
  Components components;
  Drop drop;

  __device__ __forceinline__ void begin(int64_t) {}
  __device__ __forceinline__ uint32_t word(int64_t image, int32_t y, int32_t word) const {
    const Components own = components.of_image(image);
    const uint32_t bits = own.mask[y * own.shape.words + word];
    if (bits == 0) return 0u;
    const int32_t k = lane_id() % kWordBlocks, column = word * kWordBlocks + k;
    // Blocks without a pixel in this row need no answer.
    const bool asked = (bits >> (2 * k) & 3u) != 0;
    const bool keep = asked && !drop(own, own.root(static_cast<uint32_t>(own.blocks.node_at(y / 2, column))));
    return bits & kept_bits(keep, 0);
  }
};

// Components that touch the border, which join_kernel<true> joined with the outside.
struct TouchesBorder {
  __device__ __forceinline__ bool operator()(const Components&, uint32_t root) const {
    return root == kOutside;
  }
};

struct IsSmall {
  int32_t min_area;
  __device__ __forceinline__ bool operator()(const Components& own, uint32_t root) const {
    return own.areas[root] < min_area;
  }
};

struct BitSource {
  const uint32_t* __restrict__ masks;  // (B, H, words)
  MaskShape shape;

  __device__ __forceinline__ void begin(int64_t) {}
  __device__ __forceinline__ uint32_t word(int64_t image, int32_t y, int32_t word) const {
    return masks[(image * shape.height + y) * shape.words + word];
  }
};

// The dark pixels of levels.
struct DarkSource {
  const int16_t* __restrict__ levels;    // (B, H, W)
  const ImageStats* __restrict__ stats;  // (B,)
  MaskShape shape;
  int32_t low, ceiling;  // of this block's image; set by begin

  __device__ __forceinline__ void begin(int64_t image) {
    const Range range = range_of(stats[image].levels);
    low = range.low;
    ceiling = dark_ceiling(range.low, range.high, threshold_bin(stats[image]));
  }
  __device__ __forceinline__ uint32_t word(int64_t image, int32_t y, int32_t word) const {
    const int32_t x = word * kWarpSize + lane_id();
    const int64_t row = (image * shape.height + y) * shape.width;
    return ballot(kFullMask,
                  x < shape.width && is_dark(levels[row + min_of(x, shape.width - 1)], low, ceiling));
  }
};

}  // namespace anatpaste
