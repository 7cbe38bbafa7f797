// What the two pasting operators, anat_paste and cut_paste, return.
#pragma once

#include <tuple>

#include "cpu/tensor.h"

namespace anatpaste {
namespace cpu {

// `extra` is (B,1,H,W) where it is wanted, else empty: the blurred figure, or where the patches are.
struct PasteOutputs {
  Tensor image, ints, reals, extra;

  std::tuple<Tensor, Tensor, Tensor, Tensor> all() const { return {image, ints, reals, extra}; }
};

template <typename Params>
PasteOutputs paste_outputs(const Tensor& image, ScalarType extra_type, bool wants_extra) {
  using torch::stable::new_empty;
  const int64_t batch = image.size(0);
  return {torch::stable::empty_like(image), new_empty(image, {batch, Params::kInts}, ScalarType::Int),
          new_empty(image, {batch, Params::kReals}, ScalarType::Float),
          wants_extra ? new_empty(image, {batch, 1, image.size(2), image.size(3)}, extra_type)
                      : new_empty(image, {0}, extra_type)};
}

}  // namespace cpu
}  // namespace anatpaste
