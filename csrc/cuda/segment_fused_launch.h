// What the files segment_fused_*.cu instantiate.
#pragma once

#include "segment_fused.h"

namespace anatpaste {

template <typename T>
void launch_fused(OnDevice& device, const Planes& planes, const FusedPlan& plan, const T* images,
                  uint8_t* masks, Box* boxes) {
  const bool divide = choose_blend(plan.grid.y.tile, plan.grid.x.tile) == Blend::kDivide;
  launch("segment_lungs",
         divide ? segment_lungs_kernel<T, Blend::kDivide> : segment_lungs_kernel<T, Blend::kShift>,
         grid_of(planes.batch, 1), dim3(kFusedThreads), plan.bytes, device.stream(), images, masks, boxes,
         plan);
}

}  // namespace anatpaste
