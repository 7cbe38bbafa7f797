#include "segment_fused_launch.h"

namespace anatpaste {
template void launch_fused(OnDevice&, const Planes&, const FusedPlan&, const float*, uint8_t*, Box*);
}  // namespace anatpaste
