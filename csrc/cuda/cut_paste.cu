// Launches csrc/cuda/cut_paste.cuh; semantics and argument checks are those of csrc/cpu/cut_paste.cpp.
#include <optional>
#include <tuple>
#include <vector>

#include "../settings_argument.h"
#include "cut_paste.cuh"
#include "launcher.h"
#include "paste_launch.h"

namespace anatpaste {
namespace {

std::tuple<Tensor, Tensor, Tensor, Tensor> cut_paste(const Tensor& image, const Tensor& index,
                                                     const Tensor& seed, const Tensor& step,
                                                     const std::optional<Tensor>& params_int,
                                                     const std::optional<Tensor>& params_real,
                                                     const std::vector<double>& settings_list,
                                                     bool return_mask) {
  check_image(image);
  check_params<CutPasteParams>(params_int, params_real, image);
  const auto settings = settings_of<CutPasteSettings>(settings_list);
  OnDevice device(image);
  const PasteOutputs out = paste_outputs<CutPasteParams>(device, image, ScalarType::Bool, return_mask);
  const int64_t batch = image.size(0);
  if (batch > 0) {
    const RandomSource random = random_source(device, image, index, seed, step);
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
