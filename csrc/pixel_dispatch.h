// From a tensor's dtype to the pixel type that common/pixel.h computes with.
#pragma once

#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include "common/pixel.h"

namespace anatpaste {

// Calls visit(T{}) with the pixel type T of `dtype`, for each dtype that an image may have.
template <typename Visit>
void dispatch_pixel(torch::headeronly::ScalarType dtype, const Visit& visit) {
  using torch::headeronly::ScalarType;
  switch (dtype) {
    case ScalarType::Byte:
      return visit(uint8_t{});
    case ScalarType::UInt16:
      return visit(uint16_t{});
    case ScalarType::Half:
      return visit(Float16{});
    case ScalarType::BFloat16:
      return visit(BFloat16{});
    case ScalarType::Float:
      return visit(float{});
    case ScalarType::Double:
      return visit(double{});
    default:
      STD_TORCH_CHECK(false, "image must be uint8, uint16, float16, bfloat16, float32 or float64");
  }
}

}  // namespace anatpaste
