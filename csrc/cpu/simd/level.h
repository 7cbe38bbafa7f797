// The table of one level's kernels. A source file of its own for each level includes this once, with
// ANATPASTE_SIMD (see lanes.h), ANATPASTE_KERNELS (the table's name) and ANATPASTE_LEVEL defined. No function
// of a library is instantiated here: the linker could otherwise give one made of AVX-512 to everybody.
#pragma once

#include "cpu/simd/equalize_kernels.h"
#include "cpu/simd/mask_kernels.h"
#include "cpu/simd/paste_kernels.h"

namespace anatpaste {
namespace cpu {

extern const Kernels ANATPASTE_KERNELS;

// By name and in the order of Kernels: what is missing, swapped or of another signature does not compile.
const Kernels ANATPASTE_KERNELS = {
    .extremes8 = extremes_of<uint8_t>,
    .extremes16 = extremes_of<uint16_t>,
    .extremes_of_levels = extremes_of<int16_t>,
    .drain = drain,
    .deepen_half = deepen<Float16>,
    .deepen_bfloat = deepen<BFloat16>,
    .deepen_float = deepen<float>,
    .deepen_double = deepen<double>,
    .bins_of_bytes = bins_of_bytes,
    .bins_of = bins_of,
    .redistribute = redistribute,
    .map_levels = map_levels,
    .interleave = interleave,
    .blend_row_shift = blend_row_shift,
    .blend_row_scaled = blend_row_scaled,
    .blend_row_divide = blend_row_divide,
    .blend_row_double = blend_row_double,
    .otsu_bins = otsu_bins,
    .pack_bytes = pack_bytes,
    .pack_range = pack_range,
    .unpack_bytes = unpack_bytes,
    .erode_columns = erode_columns,
    .dilate_columns = dilate_columns,
    .erode_rows = erode_rows,
    .dilate_rows = dilate_rows,
    .collect_runs = collect_runs,
    .write_labels = write_labels,
    .sum8 = sum8,
    .jitter8 = jitter8,
    .find_set = find_set,
    .scale = scale,
    .scale_backwards = scale_backwards,
    .subtract = subtract,
    .sum_chords = sum_chords,
    .blend_patch8 = blend_patch8,
    .blend_black8 = blend_black8,
    .level = ANATPASTE_LEVEL,
};

}  // namespace cpu
}  // namespace anatpaste
