// Otsu's threshold as scikit-image's threshold_otsu(nbins=256) finds it on the equalised image scaled to [0,
// 1], in terms of its integer levels.
#pragma once

#include "exact.h"
#include "portable.h"

namespace anatpaste {

constexpr int32_t kOtsuBins = 256;

// Bin of level `value` among 256 equal ones over [low, high]; low < high.
ANATPASTE_HD int32_t otsu_bin(int32_t value, int32_t low, int32_t high) {
  return min_of((value - low) * kOtsuBins / (high - low), kOtsuBins - 1);
}

// First level whose bin is `bin` or more.
ANATPASTE_HD int32_t otsu_bin_start(int32_t bin, int32_t low, int32_t high) {
  return low + ceil_div(bin * (high - low), kOtsuBins);
}

// Weight of bin `bin` in the moments below: twice its centre, in bins.
ANATPASTE_HD int32_t otsu_centre(int32_t bin) { return 2 * bin + 1; }

// Between-class variance, up to a constant power of two, of splitting after a bin. `count` and `moment` are
// the sums of counts and of count * otsu_centre(bin) up to that bin, `all_*` over all bins. Both classes must
// be non-empty. scikit-image keeps the counts in float32, so their product is rounded to float32. Exact up to
// 2^24 pixels an image.
ANATPASTE_HD double otsu_criterion(int64_t count, int64_t moment, int64_t all_count, int64_t all_moment) {
  const float weight1 = static_cast<float>(count);
  const float weight2 = static_cast<float>(all_count - count);
  const double mean1 = div_rn(static_cast<double>(moment), static_cast<double>(weight1));
  const double mean2 = div_rn(static_cast<double>(all_moment - moment), static_cast<double>(weight2));
  const double difference = add_rn(mean1, -mean2);
  return mul_rn(static_cast<double>(mul_rn(weight1, weight2)), mul_rn(difference, difference));
}

// The threshold is the centre of bin `bin`. Largest level at or below it; `bin` = -1 (a constant image) gives
// none above low.
ANATPASTE_HD int32_t dark_ceiling(int32_t low, int32_t high, int32_t bin) {
  return bin < 0 ? low : low + (2 * bin + 1) * (high - low) / (2 * kOtsuBins);
}

// Lungs are dark: at most the threshold, but above the image's minimum.
ANATPASTE_HD bool is_dark(int32_t value, int32_t low, int32_t ceiling) {
  return value > low && value <= ceiling;
}

}  // namespace anatpaste
