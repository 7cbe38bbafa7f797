// Launches csrc/cuda/cut_paste.cuh; semantics and argument checks are those of csrc/cpu/cut_paste.cpp.
#include <optional>
#include <tuple>

#include "cut_paste.cuh"
#include "launch_arguments.h"
#include "launcher.h"

namespace anatpaste {
namespace {

// A quarter of a 256 x 256 image; smaller slices would mostly repeat the draw and the mean.
constexpr int64_t kPixelsPerSlice = 16384;

struct Outputs {
  Tensor image, ints, reals, mask;
};

Outputs new_outputs(OnDevice& device, const Tensor& image, bool return_mask) {
  const int64_t batch = image.size(0);
  return {device.empty(image.sizes(), image.scalar_type()),
          device.empty({batch, kCutPasteInt}, ScalarType::Int),
          device.empty({batch, kCutPasteReal}, ScalarType::Float),
          return_mask ? device.empty({batch, 1, image.size(2), image.size(3)}, ScalarType::Bool)
                      : device.empty({0}, ScalarType::Bool)};
}

template <typename T>
CutPasteArguments<T> arguments_of(OnDevice& device, const Tensor& image,
                                  const std::optional<Tensor>& params_int,
                                  const std::optional<Tensor>& params_real, Outputs& out) {
  CutPasteArguments<T> a = {};
  a.image = device.read<T>(image);
  a.given_ints = params_int.has_value() ? device.read<int32_t>(*params_int) : nullptr;
  a.given_reals = params_real.has_value() ? device.read<float>(*params_real) : nullptr;
  a.out = device.write<T>(out.image);
  a.ints = device.write<int32_t>(out.ints);
  a.reals = device.write<float>(out.reals);
  a.mask = out.mask.numel() > 0 ? device.write<uint8_t>(out.mask) : nullptr;
  a.channels = static_cast<int32_t>(image.size(1));
  return a;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> cut_paste(
    const Tensor& image, const Tensor& index, const Tensor& seed, const Tensor& step,
    const std::optional<Tensor>& params_int, const std::optional<Tensor>& params_real, int64_t variant,
    double area_low, double area_high, double log_aspect_low, double log_aspect_high, double scar_width_low,
    double scar_width_high, double scar_length_low, double scar_length_high, double rotation_low,
    double rotation_high, double jitter_low, double jitter_high, bool return_mask) {
  check_image(image);
  check_params(params_int, params_real, image, kCutPasteInt, kCutPasteReal);
  OnDevice device(image);
  Outputs out = new_outputs(device, image, return_mask);
  const int64_t batch = image.size(0);
  if (batch > 0) {
    const RandomSource random = random_source(device, image, index, seed, step);
    const CutPasteSettings settings =
        make_cut_paste_settings(image.size(2), image.size(3), variant, area_low, area_high, log_aspect_low,
                                log_aspect_high, scar_width_low, scar_width_high, scar_length_low,
                                scar_length_high, rotation_low, rotation_high, jitter_low, jitter_high);
    const unsigned slices = slices_for(batch, image.size(2) * image.size(3), kPixelsPerSlice);
    const dim3 grid(static_cast<unsigned>(batch), slices), block(kCutPasteThreads);
    dispatch_pixel(image.scalar_type(), [&](auto pixel) {
      using T = decltype(pixel);
      auto arguments = arguments_of<T>(device, image, params_int, params_real, out);
      arguments.random = random;
      arguments.settings = settings;
      launch("cut_paste", cut_paste_kernel<T>, grid, block, 0, device.stream(), arguments);
    });
  }
  return {out.image, out.ints, out.reals, out.mask};
}

}  // namespace
}  // namespace anatpaste

ANATPASTE_REGISTER(m) { m.impl("cut_paste", TORCH_BOX(&anatpaste::cut_paste)); }
