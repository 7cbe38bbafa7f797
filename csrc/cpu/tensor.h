// Views of tensors for the CPU kernels: sizes, typed pointers, new outputs, and one call for each image.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include "common/portable.h"

namespace anatpaste {
namespace cpu {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// B planes of height x width, one after the other.
struct Planes {
  int64_t batch;
  int32_t height;
  int32_t width;

  int64_t pixels() const { return static_cast<int64_t>(height) * width; }
};

inline Planes planes_of(const Tensor& tensor) {
  return {tensor.size(0), static_cast<int32_t>(tensor.size(2)), static_cast<int32_t>(tensor.size(3))};
}

template <typename T>
const T* data_of(const Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}

template <typename T>
T* mutable_data_of(const Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

// Uninitialised (B,1,H,W) beside `like`.
inline Tensor new_planes(const Tensor& like, const Planes& planes, ScalarType dtype) {
  return torch::stable::new_empty(like, {planes.batch, 1, planes.height, planes.width}, dtype);
}

// run(begin, end) on ranges of images, in parallel; working memory belongs inside `run`, so it grows with the
// threads and not with the batch.
template <typename Run>
void for_each_image_range(int64_t batch, const Run& run) {
  if (batch > 0) torch::stable::parallel_for(0, batch, 1, run);
}

}  // namespace cpu
}  // namespace anatpaste
