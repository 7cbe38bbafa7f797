// Launches csrc/cuda/image_jitter.cuh; semantics and argument checks are those of csrc/cpu/image_jitter.cpp.
#include <vector>

#include "../settings_argument.h"
#include "image_jitter.cuh"
#include "launch_arguments.h"
#include "launcher.h"

namespace anatpaste {
namespace {

// Smaller shares of an image would not repay the second launch.
constexpr int64_t kPixelsPerSlice = 65536;

template <typename T>
void jitter(OnDevice& device, JitterArguments<T> arguments, int64_t batch) {
  const unsigned slices = slices_for(batch, arguments.pixels, kPixelsPerSlice);
  const dim3 grid(static_cast<unsigned>(batch), slices), block(kJitterThreads);
  if (slices == 1) {
    launch("image_jitter", image_jitter_kernel<T>, grid, block, 0, device.stream(), arguments);
    return;
  }
  Tensor sums = device.empty({batch, 3}, ScalarType::Long);
  arguments.sums = device.write<uint64_t>(sums);
  memset_async("image_jitter", arguments.sums, 0, batch * 3 * sizeof(uint64_t), device.stream());
  launch("image_jitter_sum", image_jitter_sum_kernel<T>, grid, block, 0, device.stream(), arguments);
  launch("image_jitter_apply", image_jitter_apply_kernel<T>, grid, block, 0, device.stream(), arguments);
}

Tensor image_jitter(const Tensor& image, const Tensor& index, const Tensor& seed, const Tensor& step,
                    const std::vector<double>& settings_list) {
  check_image(image);
  const auto settings = settings_of<ImageJitterSettings>(settings_list);
  OnDevice device(image);
  Tensor out = device.empty(image.sizes(), image.scalar_type());
  if (image.size(0) == 0) return out;
  const RandomSource random = random_source(device, image, index, seed, step);
  dispatch_pixel(image.scalar_type(), [&](auto pixel) {
    using T = decltype(pixel);
    const JitterArguments<T> arguments = {device.read<T>(image),
                                          device.write<T>(out),
                                          nullptr,
                                          random,
                                          settings,
                                          static_cast<int32_t>(image.size(2) * image.size(3)),
                                          static_cast<int32_t>(image.size(1))};
    jitter(device, arguments, image.size(0));
  });
  return out;
}

}  // namespace
}  // namespace anatpaste

ANATPASTE_REGISTER(m) { m.impl("image_jitter", TORCH_BOX(&anatpaste::image_jitter)); }
