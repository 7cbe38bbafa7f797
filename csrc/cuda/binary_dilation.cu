#include "mask_launch.h"

namespace anatpaste {
namespace {

Tensor binary_dilation(const Tensor& mask) {
  return change_masks<Morphology::kDilation>("binary_dilation", mask);
}

}  // namespace
}  // namespace anatpaste

ANATPASTE_REGISTER(m) { m.impl("binary_dilation", TORCH_BOX(&anatpaste::binary_dilation)); }
