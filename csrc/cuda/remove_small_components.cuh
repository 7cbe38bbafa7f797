// Removal of small components with their boxes. Only remove_small_components.cu includes this.
#pragma once

#include "component_bands.cuh"

namespace anatpaste {

// Zeroes small components' bounding boxes.
__global__ void __launch_bounds__(kNodeThreads) clear_boxes_kernel(Components components, int32_t min_area) {
  for_each_block_here(components, [&](const Components& own, const BlockLane& lane) {
    const int32_t area = lane.inside ? own.areas[lane.node] : 0;
    clear_small_boxes(own.mask, own.shape, own.boxes, lane.node, area > 0 && area < min_area);
  });
}

}  // namespace anatpaste
