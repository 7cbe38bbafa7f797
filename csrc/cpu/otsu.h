// Otsu's threshold of one image at a time.
#pragma once

#include "cpu/simd/kernels.h"

namespace anatpaste {
namespace cpu {

// Bin whose centre is the threshold, or -1 if all levels are one.
int32_t find_otsu_bin(const int16_t* levels, int64_t count, Extremes extremes);

}  // namespace cpu
}  // namespace anatpaste
