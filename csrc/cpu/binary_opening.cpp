#include "cpu/mask_op.h"

namespace anatpaste {
namespace cpu {

Tensor binary_opening(const Tensor& mask) {
  return change_masks(mask, [](BitMask& bits, Components&) { bits.open(); });
}

}  // namespace cpu
}  // namespace anatpaste

STABLE_TORCH_LIBRARY_IMPL(anatpaste, CPU, m) {
  m.impl("binary_opening", TORCH_BOX(&anatpaste::cpu::binary_opening));
}
