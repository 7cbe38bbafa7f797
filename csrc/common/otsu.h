// Otsu's threshold as scikit-image's threshold_otsu(nbins=256) finds it on the equalised image scaled to [0,
// 1], in terms of its integer levels.
#pragma once

#include "arith.h"
#include "exact.h"
#include "portable.h"

namespace anatpaste {

constexpr int32_t kOtsuBins = 256;

// Bin of level `value` among 256 equal ones over [low, high], low < high: min(255, (value - low) * 256 /
// (high - low)), by a product in place of the division. The half added keeps what is divided at least 1 /
// 2^15 away from a whole quotient, and below 256 the two roundings move it by less.
ANATPASTE_HD float otsu_factor(int32_t low, int32_t high) {
  return div_rn(1.0f, static_cast<float>(high - low));
}

ANATPASTE_HD int32_t otsu_bin(int32_t value, int32_t low, float factor) {
  const auto scaled = static_cast<float>((value - low) * kOtsuBins);
  return min_of(static_cast<int32_t>(mul_rn(add_rn(scaled, 0.5f), factor)), kOtsuBins - 1);
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
