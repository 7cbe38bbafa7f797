// What the operators from masks to masks share.
#pragma once

#include "cpu/bit_mask.h"
#include "cpu/checks.h"
#include "cpu/components.h"
#include "cpu/tensor.h"

namespace anatpaste {
namespace cpu {

// A new batch of masks: change(bits, components) on the bits of each one. `components` is working memory.
template <typename Change>
Tensor change_masks(const Tensor& mask, const Change& change) {
  check_mask(mask);
  const Planes planes = planes_of(mask);
  Tensor changed = new_planes(mask, planes, ScalarType::Bool);
  const auto* in = static_cast<const uint8_t*>(mask.const_data_ptr());
  auto* out = static_cast<uint8_t*>(changed.mutable_data_ptr());
  for_each_image_range(planes.batch, [&](int64_t begin, int64_t end) {
    BitMask bits(planes.height, planes.width);
    Components components;
    for (int64_t b = begin; b < end; ++b) {
      bits.read_bytes(in + b * planes.pixels());
      change(bits, components);
      bits.write_bytes(out + b * planes.pixels());
    }
  });
  return changed;
}

}  // namespace cpu
}  // namespace anatpaste
