// The last line of defence of the CPU kernels: what would read or write outside a tensor. The checks with
// good messages are in anatpaste_gpu/checks.py and come first.
#pragma once

#include "cpu/tensor.h"

namespace anatpaste {
namespace cpu {

inline void check_contiguous_planes(const Tensor& tensor, int64_t channels, const char* name) {
  STD_TORCH_CHECK(tensor.dim() == 4 && tensor.size(1) == channels, name, " must have shape (B,", channels,
                  ",H,W)");
  STD_TORCH_CHECK(tensor.is_contiguous(), name, " must be contiguous");
  STD_TORCH_CHECK(tensor.size(2) >= 16 && tensor.size(3) >= 16, name, " must be at least 16 x 16 pixels");
  STD_TORCH_CHECK(tensor.size(2) <= (int64_t{1} << 30) / tensor.size(3), name,
                  " must have at most 2**30 pixels an image");
}

inline void check_dtype(const Tensor& tensor, ScalarType dtype, const char* name, const char* dtype_name) {
  STD_TORCH_CHECK(tensor.scalar_type() == dtype, name, " must be ", dtype_name);
}

inline void check_mask(const Tensor& mask) {
  check_dtype(mask, ScalarType::Bool, "mask", "bool");
  check_contiguous_planes(mask, 1, "mask");
}

inline void check_clip_limit(double clip_limit) {
  STD_TORCH_CHECK(clip_limit > 0.0 && clip_limit <= 1.0, "clip_limit must lie in (0, 1]");
}

}  // namespace cpu
}  // namespace anatpaste
