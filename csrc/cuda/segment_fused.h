// The launch of the fused segmentation kernel. It is instantiated in a file for each type of pixel, which are
// compiled side by side: a kernel takes nvcc tens of seconds.
#pragma once

#include "mask_launch.h"
#include "segment_lungs.cuh"

namespace anatpaste {

template <typename T>
void launch_fused(OnDevice& device, const Planes& planes, const FusedPlan& plan, const T* images,
                  uint8_t* masks, Box* boxes);

}  // namespace anatpaste
