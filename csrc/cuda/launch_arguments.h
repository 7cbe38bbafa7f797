// Launchers' checks of their arguments, and blocks an image.
#pragma once

#include <optional>

#include "../pixel_dispatch.h"
#include "launcher.h"
#include "random_source.h"

namespace anatpaste {

inline bool beside(const Tensor& tensor, const Tensor& image) {
  return tensor.is_cpu() == image.is_cpu() && tensor.get_device_index() == image.get_device_index();
}

// The last line of defence; the checks with good messages are in anatpaste_gpu/checks.py and come first.
inline void check_image(const Tensor& image) {
  STD_TORCH_CHECK(image.dim() == 4 && (image.size(1) == 1 || image.size(1) == 3) && image.is_contiguous(),
                  "image must be contiguous (B,1,H,W) or (B,3,H,W)");
  STD_TORCH_CHECK(image.size(2) >= 16 && image.size(3) >= 16, "image must be at least 16 x 16 pixels");
  STD_TORCH_CHECK(image.size(2) <= (int64_t{1} << 30) / image.size(3),
                  "image must have at most 2**30 pixels an image");
  STD_TORCH_CHECK(image.size(0) < (int64_t{1} << 31), "image must hold fewer than 2**31 images");
}

// Parameters to replay: both tensors with a row an image, or neither.
template <typename Params>
void check_params(const std::optional<Tensor>& ints, const std::optional<Tensor>& reals,
                  const Tensor& image) {
  STD_TORCH_CHECK(ints.has_value() == reals.has_value(), "params_int and params_real must be given together");
  if (!ints.has_value()) return;
  STD_TORCH_CHECK(ints->scalar_type() == ScalarType::Int && ints->numel() == image.size(0) * Params::kInts &&
                      reals->scalar_type() == ScalarType::Float &&
                      reals->numel() == image.size(0) * Params::kReals && ints->is_contiguous() &&
                      reals->is_contiguous() && beside(*ints, image) && beside(*reals, image),
                  "params_int must be int32 (B,", Params::kInts, ") and params_real float32 (B,",
                  Params::kReals, "), contiguous, on the image's device");
}

// seed and step: one int64 each, on the CPU (read now) or beside the image (read by the kernel, with no
// synchronisation).
inline RandomSource random_source(OnDevice& device, const Tensor& image, const Tensor& index,
                                  const Tensor& seed, const Tensor& step) {
  STD_TORCH_CHECK(index.scalar_type() == ScalarType::Long && index.numel() == image.size(0) &&
                      index.is_contiguous() && beside(index, image),
                  "index must be contiguous int64, one an image, on the image's device");
  RandomSource source = {device.read<int64_t>(index), nullptr, nullptr, 0, 0};
  const auto read_scalar = [&](const Tensor& scalar, const char* name, const int64_t*& at, int64_t& value) {
    STD_TORCH_CHECK(scalar.scalar_type() == ScalarType::Long && scalar.numel() == 1, name,
                    " must be one int64");
    STD_TORCH_CHECK(scalar.is_cpu() || beside(scalar, image), name,
                    " must be on the CPU or the image's device");
    if (beside(scalar, image)) {
      at = device.read<int64_t>(scalar);
    } else {
      value = *static_cast<const int64_t*>(scalar.const_data_ptr());
    }
  };
  read_scalar(seed, "seed", source.seed_at, source.seed);
  read_scalar(step, "step", source.step_at, source.step);
  return source;
}

// Blocks an image, so that a batch smaller than the device still fills it: one wave, `pixels_each` or more to
// a block.
inline unsigned slices_for(int64_t batch, int64_t pixels, int64_t pixels_each) {
  const int64_t wave = multiprocessor_count() / batch, most = ceil_div(pixels, pixels_each);
  return static_cast<unsigned>(clamp_to<int64_t>(wave, 1, most));
}

}  // namespace anatpaste
