// CutPaste, whole: draw (or replay), cut, jitter, turn, paste. Images are independent and run in parallel.
#include <cstring>
#include <optional>
#include <tuple>
#include <vector>

#include "common/draw_cut_paste.h"
#include "cpu/apply_jitter.h"
#include "cpu/checks.h"
#include "cpu/given_params.h"
#include "cpu/paste_outputs.h"
#include "cpu/pixel_sums.h"
#include "cpu/random_arguments.h"
#include "cpu/tensor.h"
#include "pixel_dispatch.h"
#include "settings_argument.h"

namespace anatpaste {
namespace cpu {
namespace {

struct ImageSize {
  int channels;
  int32_t height, width;

  int64_t pixels() const { return int64_t{height} * width; }
};

// The part of the box that lies within the image: rows and columns counted from its top left corner, which
// always does.
struct VisibleBox {
  int32_t rows, columns;
};

VisibleBox visible_box(const CutPasteParams& p, const TurnedRectangle& patch, const ImageSize& size) {
  return {min_of(patch.box_height, size.height - p.paste_top),
          min_of(patch.box_width, size.width - p.paste_left)};
}

// Copies the patch out of one plane and jitters it.
template <typename T>
void cut_patch(const T* plane, const CutPasteParams& p, int32_t width, const Jitter& jitter,
               std::vector<T>& patch) {
  const int64_t count = int64_t{p.cut_h} * p.cut_w;
  patch.resize(count);
  for (int32_t y = 0; y < p.cut_h; ++y) {
    const T* row = plane + int64_t{p.top + y} * width + p.left;
    std::memcpy(patch.data() + int64_t{y} * p.cut_w, row, p.cut_w * sizeof(T));
  }
  apply_jitter(patch.data(), count, jitter, patch.data());
}

// Puts the turned rectangle's pixels where they belong in one plane.
template <typename T>
void paste_plane(const T* patch, const TurnedRectangle& turned, const CutPasteParams& p,
                 const ImageSize& size, T* out) {
  const VisibleBox box = visible_box(p, turned, size);
  const bool upright = turned.cosine == kWholeTurn && turned.sine == 0;
  for (int32_t y = 0; y < box.rows; ++y) {
    T* row = out + int64_t{p.paste_top + y} * size.width + p.paste_left;
    if (upright) {
      std::memcpy(row, patch + int64_t{y} * turned.width, box.columns * sizeof(T));
      continue;
    }
    for (int32_t x = 0; x < box.columns; ++x) {
      const int64_t source_y = turned.source_y(y, x), source_x = turned.source_x(y, x);
      if (source_y < 0 || source_y >= turned.height || source_x < 0 || source_x >= turned.width) continue;
      row[x] = patch[source_y * turned.width + source_x];
    }
  }
}

template <typename T>
void paste_image(const T* image, const CutPasteParams& p, const ImageSize& size, T* out, uint8_t* mask,
                 std::vector<T>& scratch) {
  std::memcpy(out, image, size.channels * size.pixels() * sizeof(T));
  const TurnedRectangle turned = turned_patch(p);
  const float mean =
      rectangle_mean(image, size.channels, size.height, size.width, p.top, p.left, p.cut_h, p.cut_w);
  const Jitter jitter = make_jitter(p.brightness, p.contrast, mean);
  for (int channel = 0; channel < size.channels; ++channel) {
    cut_patch(image + channel * size.pixels(), p, size.width, jitter, scratch);
    paste_plane(scratch.data(), turned, p, size, out + channel * size.pixels());
  }
  if (mask == nullptr) return;
  std::memset(mask, 0, size.pixels());
  const std::vector<uint8_t> ones(int64_t{p.cut_h} * p.cut_w, 1);
  paste_plane(ones.data(), turned, p, size, mask);
}

template <typename T>
void paste_range(const Tensor& image, const RandomArguments& random, const GivenParams& given,
                 const CutPasteSettings& settings, const ImageSize& size, const PasteOutputs& out,
                 int64_t begin, int64_t end) {
  const int64_t stride = size.channels * size.pixels();
  const bool wants_mask = out.extra.numel() > 0;
  std::vector<T> scratch;
  for (int64_t i = begin; i < end; ++i) {
    CutPasteParams p = given.ints != nullptr ? CutPasteParams::load(given.ints, given.reals, i)
                                             : draw_cut_paste(settings, size.height, size.width, random.seed,
                                                              random.index[i], random.step);
    p = sanitised(p, size.height, size.width);
    p.store(mutable_data_of<int32_t>(out.ints), mutable_data_of<float>(out.reals), i);
    uint8_t* mask =
        wants_mask ? static_cast<uint8_t*>(out.extra.mutable_data_ptr()) + i * size.pixels() : nullptr;
    paste_image(data_of<T>(image) + i * stride, p, size, mutable_data_of<T>(out.image) + i * stride, mask,
                scratch);
  }
}

std::tuple<Tensor, Tensor, Tensor, Tensor> cut_paste(const Tensor& image, const Tensor& index,
                                                     const Tensor& seed, const Tensor& step,
                                                     const std::optional<Tensor>& params_int,
                                                     const std::optional<Tensor>& params_real,
                                                     const std::vector<double>& settings_list,
                                                     bool return_mask) {
  const int channels = image.dim() == 4 && image.size(1) == 3 ? 3 : 1;
  check_contiguous_planes(image, channels, "image");
  const Planes planes = planes_of(image);
  const RandomArguments random = random_arguments(index, seed, step, planes.batch);
  const GivenParams given = checked_params<CutPasteParams>(params_int, params_real, planes.batch);
  const auto settings = settings_of<CutPasteSettings>(settings_list);
  const ImageSize size = {channels, planes.height, planes.width};
  const PasteOutputs out = paste_outputs<CutPasteParams>(image, ScalarType::Bool, return_mask);
  dispatch_pixel(image.scalar_type(), [&](auto pixel) {
    for_each_image_range(planes.batch, [&](int64_t begin, int64_t end) {
      paste_range<decltype(pixel)>(image, random, given, settings, size, out, begin, end);
    });
  });
  return out.all();
}

}  // namespace
}  // namespace cpu
}  // namespace anatpaste

STABLE_TORCH_LIBRARY_IMPL(anatpaste, CPU, m) { m.impl("cut_paste", TORCH_BOX(&anatpaste::cpu::cut_paste)); }
