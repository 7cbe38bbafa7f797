// 8-connected components by union-find over blocks of 2 x 2 pixels: the pixels of one block always belong to
// one component. Blocks are nodes 1, 2, ... in raster order, and node 0 is the outside of the image. Parents
// only ever decrease, so a root is its component's first block, or 0.
#pragma once

#include "packed_mask.cuh"

namespace anatpaste {

constexpr uint32_t kAllBits = 0xffffffffu;
constexpr int32_t kWordBlocks = kWarpSize / 2;  // blocks in the width of a word

struct BlockShape {
  int32_t rows, columns;

  // Blocks, and the outside.
  ANATPASTE_HD int32_t nodes() const { return rows * columns + 1; }
  ANATPASTE_HD int32_t node_at(int32_t row, int32_t column) const { return row * columns + column + 1; }
};

constexpr uint32_t kOutside = 0;

ANATPASTE_HD BlockShape block_shape(const MaskShape& shape) {
  return {ceil_div(shape.height, int32_t{2}), ceil_div(shape.width, int32_t{2})};
}

// ---- union-find ----
// kBits: the bits of a node's word that hold its parent; others may hold something else.

template <uint32_t kBits>
__device__ __forceinline__ uint32_t find_root(const uint32_t* parents, uint32_t node) {
  uint32_t parent = relaxed_load(parents + node) & kBits;
  while (parent != node) {
    node = parent;
    parent = relaxed_load(parents + node) & kBits;
  }
  return node;
}

// Joins the components of two nodes. Only where words hold nothing but parents.
__device__ __forceinline__ void join(uint32_t* parents, uint32_t a, uint32_t b) {
  while (true) {
    a = find_root<kAllBits>(parents, a);
    b = find_root<kAllBits>(parents, b);
    if (a == b) return;
    const uint32_t upper = min_of(a, b), lower = max_of(a, b);
    // If `lower` has got a parent meanwhile, that one still has to be joined with `upper`.
    const uint32_t found = atomic_min(parents + lower, upper);
    if (found == lower) return;
    a = found;
    b = upper;
  }
}

// ---- blocks in bit masks ----

// A word of a block row: the two pixel rows, the row above, and the columns left and right of it.
struct BlockWord {
  uint32_t top, bottom, above;
  uint32_t top_left, bottom_left, above_left;  // in bit 31
  uint32_t top_right, above_right;             // in bit 0
};

__device__ __forceinline__ BlockWord read_block_word(const uint32_t* mask, const MaskShape& shape,
                                                     int32_t row, int32_t word) {
  const int32_t y = 2 * row;
  return {word_or_zero(mask, shape, y, word),         word_or_zero(mask, shape, y + 1, word),
          word_or_zero(mask, shape, y - 1, word),     word_or_zero(mask, shape, y, word - 1),
          word_or_zero(mask, shape, y + 1, word - 1), word_or_zero(mask, shape, y - 1, word - 1),
          word_or_zero(mask, shape, y, word + 1),     word_or_zero(mask, shape, y - 1, word + 1)};
}

// Which of the blocks to the west, north-west, north and north-east to join a block with. A link that others
// imply is left out: within a word by the run that a block starts from (run_start), else by the joins of the
// block's neighbours.
struct Links {
  bool west, north_west, north, north_east;
};

// The four columns from one left of block `k` to one right of it, as bits 0 .. 3.
__device__ __forceinline__ uint32_t four_columns(uint32_t left, uint32_t word, uint32_t right, int32_t k) {
  const uint32_t low = word << 1 | left >> 31, high = word >> 31 | right << 1;
  return funnel_right(low, high, 2 * k) & 15u;
}

__device__ __forceinline__ Links links_of(const BlockWord& w, int32_t k) {
  const uint32_t top = four_columns(w.top_left, w.top, w.top_right, k);
  const uint32_t any = four_columns(w.top_left | w.bottom_left, w.top | w.bottom, 0u, k);
  const uint32_t above = four_columns(w.above_left, w.above, w.above_right, k);
  const bool west = (any & 3u) == 3u;
  // The block to the west joins the same one to the north.
  const bool north_by_west = west && (above & 3u) == 3u && (top & 1u) != 0;
  return {west && k == 0, (top & 3u) == 2u && (above & 3u) == 1u,
          (top & 6u) != 0 && (above & 6u) != 0 && !north_by_west, (top & 12u) == 4u && (above & 12u) == 8u};
}

// The first block of the run within its word that block k belongs to.
__device__ __forceinline__ int32_t run_start(uint32_t top, uint32_t bottom, int32_t k) {
  const uint32_t any = top | bottom;
  // Even bits: the block is not linked to its west. Block 0 of a word never is, within the word.
  const uint32_t starts = (~(any & any << 1) & 0x55555555u) | 1u;
  return (31 - clz(starts & (kFullMask >> (31 - 2 * k)))) / 2;
}

// ---- one lane a block: the warp covers 32 blocks, two words, of a block row ----

struct BlockLane {
  int32_t row, column;  // of blocks
  int32_t word, k;      // the word the block lies in, and its number there
  bool inside;
  uint32_t node;
};

// Calls visit(lane) for all blocks, the whole warp together; warps and lanes beyond the blocks come with
// inside = false.
template <typename Visit>
__device__ __forceinline__ void for_each_block(const BlockShape& blocks, int32_t first_row, int32_t end_row,
                                               int32_t warp, int32_t warps, const Visit& visit) {
  for (int32_t row = first_row + warp; row < end_row; row += warps) {
    for (int32_t begin = 0; begin < blocks.columns; begin += kWarpSize) {
      const int32_t column = begin + lane_id();
      visit(BlockLane{row, column, column / kWordBlocks, column % kWordBlocks, column < blocks.columns,
                      static_cast<uint32_t>(blocks.node_at(row, column))});
    }
  }
}

// A node's first parent: the start of its run within its word.
__device__ __forceinline__ uint32_t first_parent(const uint32_t* mask, const MaskShape& shape,
                                                 const BlockLane& lane) {
  const uint32_t top = word_or_zero(mask, shape, 2 * lane.row, lane.word);
  const uint32_t bottom = word_or_zero(mask, shape, 2 * lane.row + 1, lane.word);
  return lane.node - (lane.k - run_start(top, bottom, lane.k));
}

__device__ __forceinline__ void join_neighbours(uint32_t* parents, const uint32_t* mask,
                                                const MaskShape& shape, const BlockShape& blocks,
                                                const BlockLane& lane) {
  const Links links = links_of(read_block_word(mask, shape, lane.row, lane.word), lane.k);
  const uint32_t node = lane.node, north = node - blocks.columns;
  if (links.west) join(parents, node, node - 1);
  if (links.north_west) join(parents, node, north - 1);
  if (links.north) join(parents, node, north);
  if (links.north_east) join(parents, node, north + 1);
}

// The pixels of a block: bits 0, 1 of the upper row, bits 2, 3 of the lower one.
__device__ __forceinline__ uint32_t block_pixels(const uint32_t* mask, const MaskShape& shape,
                                                 const BlockLane& lane) {
  const uint32_t top = word_or_zero(mask, shape, 2 * lane.row, lane.word) >> (2 * lane.k) & 3u;
  const uint32_t bottom = word_or_zero(mask, shape, 2 * lane.row + 1, lane.word) >> (2 * lane.k) & 3u;
  return top | bottom << 2;
}

// Those of a block's pixels that would lie on the border of the image.
__device__ __forceinline__ uint32_t border_pixels(const MaskShape& shape, const BlockLane& lane) {
  const uint32_t columns = (lane.column == 0 ? 1u : 0u) |
                           (shape.width - 1 - 2 * lane.column < 2 ? 1u << (shape.width - 1) % 2 : 0u);
  const int32_t y = 2 * lane.row;
  const uint32_t top = y == 0 || y == shape.height - 1 ? 3u : columns;
  const uint32_t bottom = y + 1 == shape.height - 1 ? 3u : columns;
  return top | bottom << 2;
}

// Joins blocks with pixels on the border with the outside, which then is the root of all components that
// touch the border.
__device__ __forceinline__ void join_border(uint32_t* parents, const uint32_t* mask, const MaskShape& shape,
                                            const BlockLane& lane) {
  if ((block_pixels(mask, shape, lane) & border_pixels(shape, lane)) != 0) join(parents, lane.node, kOutside);
}

// The bits of a lane's word that belong to blocks with `keep`. The whole warp calls it; lanes of one word get
// the same.
__device__ __forceinline__ uint32_t kept_bits(bool keep, int32_t lane) {
  const uint32_t flags = ballot(kFullMask, keep);
  return double_bits(lane < kWordBlocks ? flags & 0xffffu : flags >> kWordBlocks);
}

}  // namespace anatpaste
