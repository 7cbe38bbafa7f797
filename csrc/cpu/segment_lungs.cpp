#include "common/otsu.h"
#include "cpu/bit_mask.h"
#include "cpu/checks.h"
#include "cpu/components.h"
#include "cpu/equalize.h"
#include "cpu/otsu.h"
#include "cpu/tensor.h"
#include "pixel_dispatch.h"

namespace anatpaste {
namespace cpu {
namespace {

// Algorithm 1 of the paper on one image after the other; nothing between its steps leaves the working memory.
class LungSegmenter {
 public:
  LungSegmenter(int32_t height, int32_t width, double clip_limit, int64_t min_area, bool bounding_box)
      : equalizer_(height, width, clip_limit),
        levels_(static_cast<std::size_t>(height) * width),
        bits_(height, width),
        min_area_(min_area),
        bounding_box_(bounding_box) {}

  template <typename T>
  void run(const T* image, uint8_t* mask) {
    const Extremes extremes = equalizer_.run(image, levels_.data());
    keep_dark(extremes);
    bits_.open();
    components_.find(bits_);
    components_.clear_border(bits_);
    bits_.dilate();
    components_.find(bits_);
    components_.remove_small(bits_, min_area_, bounding_box_);
    bits_.write_bytes(mask);
  }

 private:
  void keep_dark(Extremes extremes) {
    const int32_t bin = find_otsu_bin(levels_.data(), static_cast<int64_t>(levels_.size()), extremes);
    bits_.read_range(levels_.data(), extremes.low, dark_ceiling(extremes.low, extremes.high, bin));
  }

  Equalizer equalizer_;
  std::vector<int16_t> levels_;
  BitMask bits_;
  Components components_;
  int64_t min_area_;
  bool bounding_box_;
};

}  // namespace

Tensor segment_lungs(const Tensor& image, double clip_limit, int64_t min_area, bool bounding_box) {
  check_contiguous_planes(image, 1, "image");
  check_clip_limit(clip_limit);
  const Planes planes = planes_of(image);
  Tensor mask = new_planes(image, planes, ScalarType::Bool);
  auto* out = static_cast<uint8_t*>(mask.mutable_data_ptr());
  dispatch_pixel(image.scalar_type(), [&](auto pixel) {
    const auto* in = data_of<decltype(pixel)>(image);
    for_each_image_range(planes.batch, [&](int64_t begin, int64_t end) {
      LungSegmenter segmenter(planes.height, planes.width, clip_limit, min_area, bounding_box);
      for (int64_t b = begin; b < end; ++b)
        segmenter.run(in + b * planes.pixels(), out + b * planes.pixels());
    });
  });
  return mask;
}

}  // namespace cpu
}  // namespace anatpaste

STABLE_TORCH_LIBRARY_IMPL(anatpaste, CPU, m) {
  m.impl("segment_lungs", TORCH_BOX(&anatpaste::cpu::segment_lungs));
}
