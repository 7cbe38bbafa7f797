// The arguments that say which random numbers a batch gets: seed and step (0-d int64) and index (one int64 an
// image).
#pragma once

#include "cpu/tensor.h"

namespace anatpaste {
namespace cpu {

struct RandomArguments {
  int64_t seed;
  uint32_t step;
  const int64_t* index;
};

inline int64_t scalar_of(const Tensor& tensor, const char* name) {
  STD_TORCH_CHECK(tensor.numel() == 1 && tensor.scalar_type() == ScalarType::Long, name,
                  " must be one int64");
  return *data_of<int64_t>(tensor);
}

inline RandomArguments random_arguments(const Tensor& index, const Tensor& seed, const Tensor& step,
                                        int64_t batch) {
  STD_TORCH_CHECK(index.scalar_type() == ScalarType::Long && index.numel() == batch && index.is_contiguous(),
                  "index must be contiguous int64, one an image");
  return {scalar_of(seed, "seed"), static_cast<uint32_t>(scalar_of(step, "step")), data_of<int64_t>(index)};
}

}  // namespace cpu
}  // namespace anatpaste
