#include "cpu/mask_op.h"

namespace anatpaste {
namespace cpu {

Tensor clear_border(const Tensor& mask) {
  return change_masks(mask, [](BitMask& bits, Components& components) {
    components.find(bits);
    components.clear_border(bits);
  });
}

}  // namespace cpu
}  // namespace anatpaste

STABLE_TORCH_LIBRARY_IMPL(anatpaste, CPU, m) {
  m.impl("clear_border", TORCH_BOX(&anatpaste::cpu::clear_border));
}
