#include "cpu/mask_op.h"

namespace anatpaste {
namespace cpu {

Tensor binary_dilation(const Tensor& mask) {
  return change_masks(mask, [](BitMask& bits, Components&) { bits.dilate(); });
}

}  // namespace cpu
}  // namespace anatpaste

STABLE_TORCH_LIBRARY_IMPL(anatpaste, CPU, m) {
  m.impl("binary_dilation", TORCH_BOX(&anatpaste::cpu::binary_dilation));
}
