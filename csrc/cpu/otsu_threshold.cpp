#include "cpu/checks.h"
#include "cpu/otsu.h"
#include "cpu/simd.h"
#include "cpu/tensor.h"

namespace anatpaste {
namespace cpu {
namespace {

constexpr int32_t kCopies = 4;

void count_levels(const int16_t* levels, int64_t count, int32_t low, const uint8_t* bin_of, int64_t* counts) {
  // An image has at most 2^30 pixels, so int32 holds every copy.
  int32_t copies[kCopies][kOtsuBins] = {};
  int64_t i = 0;
  for (; i + kCopies <= count; i += kCopies) {
    for (int32_t copy = 0; copy < kCopies; ++copy) ++copies[copy][bin_of[levels[i + copy] - low]];
  }
  for (; i < count; ++i) ++copies[0][bin_of[levels[i] - low]];
  for (int32_t b = 0; b < kOtsuBins; ++b)
    counts[b] = int64_t{copies[0][b]} + copies[1][b] + copies[2][b] + copies[3][b];
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

ANATPASTE_CLONES Extremes level_extremes(const int16_t* levels, int64_t count) {
  int16_t low = levels[0], high = levels[0];
  for (int64_t i = 1; i < count; ++i) {
    low = min_of(low, levels[i]);
    high = max_of(high, levels[i]);
  }
  return {low, high};
}

int32_t find_otsu_bin(const int16_t* levels, int64_t count, Extremes extremes, std::vector<uint8_t>& bin_of) {
  const int32_t low = extremes.low, high = extremes.high;
  if (low == high) return -1;
  bin_of.resize(static_cast<std::size_t>(high - low) + 1);
  for (int32_t b = 0; b < kOtsuBins; ++b) {
    const int32_t end = b + 1 < kOtsuBins ? otsu_bin_start(b + 1, low, high) : high + 1;
    for (int32_t v = otsu_bin_start(b, low, high); v < end; ++v) bin_of[v - low] = static_cast<uint8_t>(b);
  }
  int64_t counts[kOtsuBins];
  count_levels(levels, count, low, bin_of.data(), counts);
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
    std::vector<uint8_t> bin_of;
    for (int64_t b = begin; b < end; ++b) {
      const int16_t* image = in + b * planes.pixels();
      const Extremes extremes = level_extremes(image, planes.pixels());
      out[3 * b] = extremes.low;
      out[3 * b + 1] = extremes.high;
      out[3 * b + 2] = find_otsu_bin(image, planes.pixels(), extremes, bin_of);
    }
  });
  return thresholds;
}

}  // namespace cpu
}  // namespace anatpaste

STABLE_TORCH_LIBRARY_IMPL(anatpaste, CPU, m) {
  m.impl("otsu_threshold", TORCH_BOX(&anatpaste::cpu::otsu_threshold));
}
