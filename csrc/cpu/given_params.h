// Parameters to replay, as operators take them: two tensors with a row an image, or neither to draw them.
#pragma once

#include <optional>

#include "cpu/tensor.h"

namespace anatpaste {
namespace cpu {

// Both null where there are none.
struct GivenParams {
  const int32_t* ints = nullptr;
  const float* reals = nullptr;
};

template <typename Params>
GivenParams checked_params(const std::optional<Tensor>& ints, const std::optional<Tensor>& reals,
                           int64_t batch) {
  STD_TORCH_CHECK(ints.has_value() == reals.has_value(), "params_int and params_real must be given together");
  if (!ints.has_value()) return {};
  STD_TORCH_CHECK(ints->scalar_type() == ScalarType::Int && ints->numel() == batch * Params::kInts &&
                      reals->scalar_type() == ScalarType::Float && reals->numel() == batch * Params::kReals &&
                      ints->is_contiguous() && reals->is_contiguous(),
                  "params_int must be int32 (B,", Params::kInts, ") and params_real float32 (B,",
                  Params::kReals, "), contiguous");
  return {data_of<int32_t>(*ints), data_of<float>(*reals)};
}

}  // namespace cpu
}  // namespace anatpaste
