// Otsu's threshold of one image at a time.
#pragma once

#include <vector>

#include "common/otsu.h"
#include "cpu/equalize.h"

namespace anatpaste {
namespace cpu {

// Bin whose centre is the threshold, or -1 if all levels are one. `bin_of` is working memory.
int32_t find_otsu_bin(const int16_t* levels, int64_t count, Extremes extremes, std::vector<uint8_t>& bin_of);

Extremes level_extremes(const int16_t* levels, int64_t count);

}  // namespace cpu
}  // namespace anatpaste
