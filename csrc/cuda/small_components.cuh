// Areas and boxes of components, and the removal of small ones: pieces for one warp.
#pragma once

#include "block_labels.cuh"

namespace anatpaste {

// Smallest upright box around a component. All four only grow from 0: distances of its sides from the
// opposite sides of the image.
struct Box {
  int32_t from_bottom;  // height - top row
  int32_t bottom;       // last row + 1
  int32_t from_right;   // width - left column
  int32_t right;        // last column + 1
};

__device__ __forceinline__ Box empty_box() { return {0, 0, 0, 0}; }

// Adds the pixels of a warp's blocks to their components' boxes. boxes: one a node.
__device__ __forceinline__ void grow_boxes(Box* boxes, const MaskShape& shape, const BlockLane& lane,
                                           uint32_t pixels, uint32_t root) {
  const int32_t top = 2 * lane.row + ((pixels & 3u) != 0 ? 0 : 1);
  const int32_t bottom = 2 * lane.row + ((pixels >> 2) != 0 ? 2 : 1);
  const int32_t left = 2 * lane.column + ((pixels & 5u) != 0 ? 0 : 1);
  const int32_t right = 2 * lane.column + ((pixels & 10u) != 0 ? 2 : 1);
  for_each_key(pixels != 0, root, [&](uint32_t key, bool member) {
    const int32_t from_bottom = reduce_max(kFullMask, member ? shape.height - top : 0);
    const int32_t to_bottom = reduce_max(kFullMask, member ? bottom : 0);
    const int32_t from_right = reduce_max(kFullMask, member ? shape.width - left : 0);
    const int32_t to_right = reduce_max(kFullMask, member ? right : 0);
    if (lane_id() != 0) return;
    atomic_max(&boxes[key].from_bottom, from_bottom);
    atomic_max(&boxes[key].bottom, to_bottom);
    atomic_max(&boxes[key].from_right, from_right);
    atomic_max(&boxes[key].right, to_right);
  });
}

// Clears all of a mask within a box; the whole warp calls it with the same box.
__device__ __forceinline__ void clear_box(uint32_t* mask, const MaskShape& shape, const Box& box) {
  const int32_t top = shape.height - box.from_bottom, left = shape.width - box.from_right;
  const int32_t first_word = left / kWarpSize, words = (box.right - 1) / kWarpSize - first_word + 1;
  const int32_t count = (box.bottom - top) * words;
  for (int32_t i = lane_id(); i < count; i += kWarpSize) {
    const int32_t word = first_word + i % words;
    atomic_and(&mask[(top + i / words) * shape.words + word], ~column_bits(word, left, box.right));
  }
}

// Clears the boxes of those of a warp's blocks that are roots of small components.
__device__ __forceinline__ void clear_small_boxes(uint32_t* mask, const MaskShape& shape, const Box* boxes,
                                                  uint32_t node, bool small_root) {
  for_each_key(small_root, node, [&](uint32_t root, bool) {
    const Box* box = boxes + root;
    // Other threads wrote the box by atomics: read past the first-level cache.
    clear_box(mask, shape,
              {relaxed_load(&box->from_bottom), relaxed_load(&box->bottom), relaxed_load(&box->from_right),
               relaxed_load(&box->right)});
  });
}

}  // namespace anatpaste
