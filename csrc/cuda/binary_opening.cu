#include "mask_launch.h"

namespace anatpaste {
namespace {

Tensor binary_opening(const Tensor& mask) {
  return change_masks<Morphology::kOpening>("binary_opening", mask);
}

}  // namespace
}  // namespace anatpaste

ANATPASTE_REGISTER(m) { m.impl("binary_opening", TORCH_BOX(&anatpaste::binary_opening)); }
