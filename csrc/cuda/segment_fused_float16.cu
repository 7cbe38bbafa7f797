#include "segment_fused_launch.h"

namespace anatpaste {
template void launch_fused(OnDevice&, const Planes&, const FusedPlan&, const Float16*, uint8_t*, Box*);
}  // namespace anatpaste
