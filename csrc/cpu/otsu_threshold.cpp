#include "common/otsu.h"
#include "cpu/checks.h"
#include "cpu/equalize.h"
#include "cpu/otsu.h"
#include "cpu/tensor.h"

namespace anatpaste {
namespace cpu {
namespace {

// An image has at most 2^30 pixels, so 32 bits hold every copy.
void count_levels(const int16_t* levels, int64_t count, Extremes extremes, int64_t* counts) {
  constexpr int64_t kPiece = 4096;
  uint8_t bins[kPiece];
  HistogramCopies copies = {};
  for (int64_t begin = 0; begin < count; begin += kPiece) {
    const int64_t size = min_of(kPiece, count - begin);
    kernels().otsu_bins(levels + begin, size, extremes.low, extremes.high, bins);
    count_bytes(bins, size, copies);
  }
  int32_t sums[kOtsuBins];
  kernels().drain(copies, sums);
  for (int32_t b = 0; b < kOtsuBins; ++b) counts[b] = sums[b];
}

// First bin after which a split has the largest between-class variance.
int32_t best_split(const int64_t* counts) {
  int64_t all_count = 0, all_moment = 0;
  for (int32_t b = 0; b < kOtsuBins; ++b) {
    all_count += counts[b];
    all_moment += counts[b] * otsu_centre(b);
  }
  int32_t best = 0;
  double best_value = -1.0;
  int64_t count = 0, moment = 0;
  for (int32_t b = 0; b + 1 < kOtsuBins; ++b) {
    count += counts[b];
    moment += counts[b] * otsu_centre(b);
    const double value = otsu_criterion(count, moment, all_count, all_moment);
    if (value > best_value) {
      best = b;
      best_value = value;
    }
  }
  return best;
}

}  // namespace

int32_t find_otsu_bin(const int16_t* levels, int64_t count, Extremes extremes) {
  if (extremes.low == extremes.high) return -1;
  int64_t counts[kOtsuBins];
  count_levels(levels, count, extremes, counts);
  return best_split(counts);
}

Tensor otsu_threshold(const Tensor& levels) {
  check_dtype(levels, ScalarType::Short, "levels", "int16");
  check_contiguous_planes(levels, 1, "levels");
  const Planes planes = planes_of(levels);
  Tensor thresholds = torch::stable::new_empty(levels, {planes.batch, 3}, ScalarType::Int);
  const auto* in = data_of<int16_t>(levels);
  auto* out = mutable_data_of<int32_t>(thresholds);
  for_each_image_range(planes.batch, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const int16_t* image = in + b * planes.pixels();
      const Extremes extremes = kernels().extremes_of_levels(image, planes.pixels());
      out[3 * b] = extremes.low;
      out[3 * b + 1] = extremes.high;
      out[3 * b + 2] = find_otsu_bin(image, planes.pixels(), extremes);
    }
  });
  return thresholds;
}

}  // namespace cpu
}  // namespace anatpaste

STABLE_TORCH_LIBRARY_IMPL(anatpaste, CPU, m) {
  m.impl("otsu_threshold", TORCH_BOX(&anatpaste::cpu::otsu_threshold));
}
