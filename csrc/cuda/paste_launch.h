// What the launchers of the two pasting operators, anat_paste and cut_paste, share.
#pragma once

#include <optional>
#include <tuple>

#include "launch_arguments.h"

namespace anatpaste {

// A quarter of a 256 x 256 image; smaller slices would mostly repeat what each
// block computes of the whole image.
constexpr int64_t kPastePixelsPerSlice = 16384;

// `extra` is (B,1,H,W) where it is wanted, else empty: the blurred figure, or where the patches are.
struct PasteOutputs {
  Tensor image, ints, reals, extra;

  std::tuple<Tensor, Tensor, Tensor, Tensor> all() const { return {image, ints, reals, extra}; }
};

template <typename Params>
PasteOutputs paste_outputs(OnDevice& device, const Tensor& image, ScalarType extra_type, bool wants_extra) {
  const int64_t batch = image.size(0);
  return {device.empty(image.sizes(), image.scalar_type()),
          device.empty({batch, Params::kInts}, ScalarType::Int),
          device.empty({batch, Params::kReals}, ScalarType::Float),
          wants_extra ? device.empty({batch, 1, image.size(2), image.size(3)}, extra_type)
                      : device.empty({0}, extra_type)};
}

// The members that both kernels' arguments have; all others are zero.
template <typename Arguments, typename T>
Arguments paste_arguments(OnDevice& device, const Tensor& image, const std::optional<Tensor>& params_int,
                          const std::optional<Tensor>& params_real, const PasteOutputs& out) {
  Arguments a = {};
  a.image = device.read<T>(image);
  a.given_ints = params_int.has_value() ? device.read<int32_t>(*params_int) : nullptr;
  a.given_reals = params_real.has_value() ? device.read<float>(*params_real) : nullptr;
  a.out = device.write<T>(out.image);
  a.ints = device.write<int32_t>(out.ints);
  a.reals = device.write<float>(out.reals);
  a.channels = static_cast<int32_t>(image.size(1));
  a.height = static_cast<int32_t>(image.size(2));
  a.width = static_cast<int32_t>(image.size(3));
  return a;
}

}  // namespace anatpaste
