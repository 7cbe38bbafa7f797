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

const Kernels ANATPASTE_KERNELS = {
    extremes_of<uint8_t>,
    extremes_of<uint16_t>,
    extremes_of<int16_t>,
    drain,
    deepen<Float16>,
    deepen<BFloat16>,
    deepen<float>,
    deepen<double>,
    bins_of_bytes,
    bins_of,
    redistribute,
    map_levels,
    interleave,
    blend_row_shift,
    blend_row_scaled,
    blend_row_divide,
    blend_row_double,
    otsu_bins,
    pack_bytes,
    pack_range,
    unpack_bytes,
    erode_columns,
    dilate_columns,
    erode_rows,
    dilate_rows,
    collect_runs,
    write_labels,
    sum8,
    find_set,
    scale,
    scale_backwards,
    subtract,
    sum_chords,
    blend_patch8,
    blend_black8,
    ANATPASTE_LEVEL,
};

}  // namespace cpu
}  // namespace anatpaste
