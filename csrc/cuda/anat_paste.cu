// Launches csrc/cuda/anat_paste.cuh; semantics and argument checks are those of csrc/cpu/anat_paste.cpp.
#include <optional>
#include <tuple>

#include "anat_paste.cuh"
#include "launcher.h"
#include "paste_launch.h"

namespace anatpaste {
namespace {

// Above this the figure's tables go to a workspace: with the kernel's static shared memory, 48 KB are not
// exceeded, which every device gives without asking. Sides up to 2,200 pixels fit.
constexpr int64_t kSharedTableBytes = 24 * 1024;

void check_lung_mask(const Tensor& mask, const Tensor& image) {
  STD_TORCH_CHECK(mask.scalar_type() == ScalarType::Bool && mask.dim() == 4 && mask.is_contiguous() &&
                      mask.size(0) == image.size(0) && mask.size(1) == 1 && mask.size(2) == image.size(2) &&
                      mask.size(3) == image.size(3) && beside(mask, image),
                  "lung_mask must be contiguous bool (B,1,H,W), of the image's size and on its device");
}

template <typename T>
void paste(OnDevice& device, PasteArguments<T>& arguments, int64_t batch) {
  const PasteSettings& settings = arguments.settings;
  const int64_t pixels = int64_t{settings.height} * settings.width;
  const unsigned slices = slices_for(batch, pixels, kPastePixelsPerSlice);
  const dim3 grid(static_cast<unsigned>(batch), slices);
  const int64_t bytes = paste_table_bytes(settings.height, settings.width);
  if (bytes <= kSharedTableBytes) {
    launch("anat_paste", anat_paste_kernel<T, true>, grid, dim3(kPasteThreads), bytes, device.stream(),
           arguments);
    return;
  }
  Tensor workspace = device.empty({batch * slices * bytes}, ScalarType::Byte);
  arguments.workspace = device.write<uint8_t>(workspace);
  launch("anat_paste", anat_paste_kernel<T, false>, grid, dim3(kPasteThreads), 0, device.stream(), arguments);
}

template <typename T>
PasteArguments<T> arguments_of(OnDevice& device, const Tensor& image, const Tensor& lung_mask,
                               const std::optional<Tensor>& params_int,
                               const std::optional<Tensor>& params_real, const PasteOutputs& out) {
  auto a = paste_arguments<PasteArguments<T>, T>(device, image, params_int, params_real, out);
  a.lung_mask = device.read<uint8_t>(lung_mask);
  a.figure = out.extra.numel() > 0 ? device.write<float>(out.extra) : nullptr;
  a.edges = max_edges(static_cast<int32_t>(image.size(2)), static_cast<int32_t>(image.size(3)));
  a.chords = max_chords(static_cast<int32_t>(image.size(2)));
  return a;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> anat_paste(
    const Tensor& image, const Tensor& lung_mask, const Tensor& index, const Tensor& seed, const Tensor& step,
    const std::optional<Tensor>& params_int, const std::optional<Tensor>& params_real, double area_low,
    double area_high, double log_aspect_low, double log_aspect_high, int64_t margin, double value_low,
    double value_high, double sigma_low, double sigma_high, double sigma_scale, bool integer_draws,
    double jitter_low, double jitter_high, bool image_background, bool return_figure) {
  check_image(image);
  check_lung_mask(lung_mask, image);
  check_params(params_int, params_real, image, kParamsInt, kParamsReal);
  OnDevice device(image);
  const PasteOutputs out =
      paste_outputs(device, image, kParamsInt, kParamsReal, ScalarType::Float, return_figure);
  const int64_t batch = image.size(0);
  if (batch > 0) {
    const RandomSource random = random_source(device, image, index, seed, step);
    const PasteSettings settings = make_paste_settings(
        image.size(2), image.size(3), area_low, area_high, log_aspect_low, log_aspect_high, margin, value_low,
        value_high, sigma_low, sigma_high, sigma_scale, integer_draws, jitter_low, jitter_high);
    dispatch_pixel(image.scalar_type(), [&](auto pixel) {
      auto arguments = arguments_of<decltype(pixel)>(device, image, lung_mask, params_int, params_real, out);
      arguments.random = random;
      arguments.settings = settings;
      arguments.image_background = image_background;
      paste(device, arguments, batch);
    });
  }
  return out.all();
}

}  // namespace
}  // namespace anatpaste

ANATPASTE_REGISTER(m) { m.impl("anat_paste", TORCH_BOX(&anatpaste::anat_paste)); }
