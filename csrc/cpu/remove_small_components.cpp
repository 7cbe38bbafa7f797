#include "cpu/mask_op.h"

namespace anatpaste {
namespace cpu {

Tensor remove_small_components(const Tensor& mask, int64_t min_area, bool bounding_box) {
  return change_masks(mask, [=](BitMask& bits, Components& components) {
    components.find(bits);
    components.remove_small(bits, min_area, bounding_box);
  });
}

}  // namespace cpu
}  // namespace anatpaste

STABLE_TORCH_LIBRARY_IMPL(anatpaste, CPU, m) {
  m.impl("remove_small_components", TORCH_BOX(&anatpaste::cpu::remove_small_components));
}
