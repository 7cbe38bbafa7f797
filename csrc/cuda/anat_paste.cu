// Launches csrc/cuda/anat_paste.cuh; semantics and argument checks are those of csrc/cpu/anat_paste.cpp.
#include <optional>
#include <tuple>
#include <vector>

#include "../settings_argument.h"
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
  const int64_t pixels = int64_t{arguments.height} * arguments.width;
  const unsigned slices = slices_for(batch, pixels, kPastePixelsPerSlice);
  const dim3 grid(static_cast<unsigned>(batch), slices);
  const int64_t bytes = paste_table_bytes(arguments.height, arguments.width);
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
  a.edges = max_edges(a.height, a.width);
  a.chords = max_chords(a.height);
  return a;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> anat_paste(
    const Tensor& image, const Tensor& lung_mask, const Tensor& index, const Tensor& seed, const Tensor& step,
    const std::optional<Tensor>& params_int, const std::optional<Tensor>& params_real,
    const std::vector<double>& settings_list, bool return_figure) {
  check_image(image);
  check_lung_mask(lung_mask, image);
  check_params<PasteParams>(params_int, params_real, image);
  const auto settings = settings_of<AnatPasteSettings>(settings_list);
  OnDevice device(image);
  const PasteOutputs out = paste_outputs<PasteParams>(device, image, ScalarType::Float, return_figure);
  const int64_t batch = image.size(0);
  if (batch > 0) {
    const RandomSource random = random_source(device, image, index, seed, step);
    dispatch_pixel(image.scalar_type(), [&](auto pixel) {
      auto arguments = arguments_of<decltype(pixel)>(device, image, lung_mask, params_int, params_real, out);
      arguments.random = random;
      arguments.settings = settings;
      paste(device, arguments, batch);
    });
  }
  return out.all();
}

}  // namespace
}  // namespace anatpaste

ANATPASTE_REGISTER(m) { m.impl("anat_paste", TORCH_BOX(&anatpaste::anat_paste)); }
