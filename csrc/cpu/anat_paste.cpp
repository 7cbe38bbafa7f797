// The paste, whole: draw (or replay), centre, figure, blend. Images are independent and run in parallel.
#include <optional>
#include <tuple>
#include <vector>

#include "common/draw.h"
#include "cpu/checks.h"
#include "cpu/given_params.h"
#include "cpu/paste_image.h"
#include "cpu/paste_outputs.h"
#include "cpu/random_arguments.h"
#include "cpu/tensor.h"
#include "pixel_dispatch.h"
#include "settings_argument.h"

namespace anatpaste {
namespace cpu {
namespace {

template <typename T>
void paste_range(const Tensor& image, const Tensor& lung_mask, const RandomArguments& random,
                 const GivenParams& given, const AnatPasteSettings& settings, const ImageView& view,
                 const PasteOutputs& out, int64_t begin, int64_t end) {
  const int64_t pixels = int64_t{view.height} * view.width;
  const int64_t stride = view.channels * pixels;
  const bool wants_figure = out.extra.numel() > 0;
  PasteScratch scratch;
  for (int64_t i = begin; i < end; ++i) {
    const uint8_t* lung = static_cast<const uint8_t*>(lung_mask.const_data_ptr()) + i * pixels;
    const int32_t lung_count = count_lung(lung, view.height, view.width, scratch);
    if (lung_count == 0) lung = nullptr;
    PasteParams p;
    if (given.ints != nullptr) {
      p = PasteParams::load(given.ints, given.reals, i);
    } else {
      uint32_t centre_word;
      p = draw_paste(settings, view.height, view.width, random.seed, random.index[i], random.step,
                     &centre_word);
      const int32_t candidates = lung == nullptr ? static_cast<int32_t>(pixels) : lung_count;
      place_centre(lung, view, scratch, centre_rank(centre_word, candidates), p);
    }
    p = sanitised(p, view.height, view.width);
    p.store(mutable_data_of<int32_t>(out.ints), mutable_data_of<float>(out.reals), i);
    float* figure = wants_figure ? mutable_data_of<float>(out.extra) + i * pixels : nullptr;
    paste_image(data_of<T>(image) + i * stride, lung, p, view, mutable_data_of<T>(out.image) + i * stride,
                figure, scratch);
  }
}

std::tuple<Tensor, Tensor, Tensor, Tensor> anat_paste(
    const Tensor& image, const Tensor& lung_mask, const Tensor& index, const Tensor& seed, const Tensor& step,
    const std::optional<Tensor>& params_int, const std::optional<Tensor>& params_real,
    const std::vector<double>& settings_list, bool return_figure) {
  const int channels = image.dim() == 4 && image.size(1) == 3 ? 3 : 1;
  check_contiguous_planes(image, channels, "image");
  check_mask(lung_mask);
  const Planes planes = planes_of(image);
  STD_TORCH_CHECK(lung_mask.size(0) == planes.batch && lung_mask.size(2) == planes.height &&
                      lung_mask.size(3) == planes.width,
                  "lung_mask must have the image's size");
  const RandomArguments random = random_arguments(index, seed, step, planes.batch);
  const GivenParams given = checked_params<PasteParams>(params_int, params_real, planes.batch);
  const auto settings = settings_of<AnatPasteSettings>(settings_list);
  const ImageView view = {channels, planes.height, planes.width, settings.image_background};
  const PasteOutputs out = paste_outputs<PasteParams>(image, ScalarType::Float, return_figure);
  dispatch_pixel(image.scalar_type(), [&](auto pixel) {
    for_each_image_range(planes.batch, [&](int64_t begin, int64_t end) {
      paste_range<decltype(pixel)>(image, lung_mask, random, given, settings, view, out, begin, end);
    });
  });
  return out.all();
}

}  // namespace
}  // namespace cpu
}  // namespace anatpaste

STABLE_TORCH_LIBRARY_IMPL(anatpaste, CPU, m) { m.impl("anat_paste", TORCH_BOX(&anatpaste::cpu::anat_paste)); }
