// Launches csrc/cuda/cut_paste.cuh; semantics and argument checks are those of csrc/cpu/cut_paste.cpp.
#include <optional>
#include <tuple>

#include "cut_paste.cuh"
#include "launcher.h"
#include "paste_launch.h"

namespace anatpaste {
namespace {

std::tuple<Tensor, Tensor, Tensor, Tensor> cut_paste(
    const Tensor& image, const Tensor& index, const Tensor& seed, const Tensor& step,
    const std::optional<Tensor>& params_int, const std::optional<Tensor>& params_real, int64_t variant,
    double area_low, double area_high, double log_aspect_low, double log_aspect_high, double scar_width_low,
    double scar_width_high, double scar_length_low, double scar_length_high, double rotation_low,
    double rotation_high, double jitter_low, double jitter_high, bool return_mask) {
  check_image(image);
  check_params(params_int, params_real, image, kCutPasteInt, kCutPasteReal);
  OnDevice device(image);
  const PasteOutputs out =
      paste_outputs(device, image, kCutPasteInt, kCutPasteReal, ScalarType::Bool, return_mask);
  const int64_t batch = image.size(0);
  if (batch > 0) {
    const RandomSource random = random_source(device, image, index, seed, step);
    const CutPasteSettings settings =
        make_cut_paste_settings(image.size(2), image.size(3), variant, area_low, area_high, log_aspect_low,
                                log_aspect_high, scar_width_low, scar_width_high, scar_length_low,
                                scar_length_high, rotation_low, rotation_high, jitter_low, jitter_high);
    const unsigned slices = slices_for(batch, image.size(2) * image.size(3), kPastePixelsPerSlice);
    const dim3 grid(static_cast<unsigned>(batch), slices), block(kCutPasteThreads);
    dispatch_pixel(image.scalar_type(), [&](auto pixel) {
      using T = decltype(pixel);
      auto arguments = paste_arguments<CutPasteArguments<T>, T>(device, image, params_int, params_real, out);
      arguments.mask = return_mask ? device.write<uint8_t>(out.extra) : nullptr;
      arguments.random = random;
      arguments.settings = settings;
      launch("cut_paste", cut_paste_kernel<T>, grid, block, 0, device.stream(), arguments);
    });
  }
  return out.all();
}

}  // namespace
}  // namespace anatpaste

ANATPASTE_REGISTER(m) { m.impl("cut_paste", TORCH_BOX(&anatpaste::cut_paste)); }
