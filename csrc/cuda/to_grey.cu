#include "mask_launch.h"
#include "to_grey.cuh"

namespace anatpaste {
namespace {

Tensor to_grey(const Tensor& image) {
  check_planes(image, 3);
  const Planes planes = planes_of(image);
  OnDevice device(image);
  Tensor grey = empty_planes(device, planes, image.scalar_type());
  if (planes.batch == 0) return grey;
  dispatch_pixel(image.scalar_type(), [&](auto pixel) {
    using T = decltype(pixel);
    const T* images = device.read<T>(image);
    T* greys = device.write<T>(grey);
    const bool aligned =
        is_aligned(images, planes.pixels() * sizeof(T)) && is_aligned(greys, planes.pixels() * sizeof(T));
    const int64_t each = aligned ? GreyRun<T>::kPixels * kGreyThreads : kGreyThreads;
    const auto blocks = static_cast<int32_t>(ceil_div(planes.pixels(), each));
    launch("to_grey", to_grey_kernel<T>, grid_of(planes.batch, blocks), dim3(kGreyThreads), 0,
           device.stream(), images, greys, static_cast<int32_t>(planes.pixels()), blocks, aligned);
  });
  return grey;
}

}  // namespace
}  // namespace anatpaste

ANATPASTE_REGISTER(m) { m.impl("to_grey", TORCH_BOX(&anatpaste::to_grey)); }
