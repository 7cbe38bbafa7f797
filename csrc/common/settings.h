// The settings of the random operators, which travel as one list of numbers: the schema's `float[] settings`.
// Each list of fields below is the one place that says what an operator is told and in which order. Struct,
// parser, number and names all follow from it, and _C hands the names to Python, which gives its own settings
// in this order or not at all (anatpaste_gpu/operator_settings.py).
#pragma once

#include "fields.h"
#include "portable.h"

// ---- fields: F(type, name), in the order of the list ----

// What a patch's size is drawn from: its area in pixels, and the logarithm of width / height.
#define ANATPASTE_PATCH_FIELDS(F) \
  F(float, area_low)              \
  F(float, area_high)             \
  F(float, log_aspect_low)        \
  F(float, log_aspect_high)

// Brightness and contrast factors.
#define ANATPASTE_JITTER_FIELDS(F) \
  F(float, jitter_low)             \
  F(float, jitter_high)

// margin: pixels. value_*: in [0, 1], or 255ths where drawn as integers. sigma_*: pixels at 256 x 256;
// sigma_scale leads from there to pixels of this image. image_background: beyond the patch the image itself,
// not black.
#define ANATPASTE_ANAT_PASTE_FIELDS(F) \
  ANATPASTE_PATCH_FIELDS(F)            \
  F(int32_t, margin)                   \
  F(float, value_low)                  \
  F(float, value_high)                 \
  F(float, sigma_low)                  \
  F(float, sigma_high)                 \
  F(float, sigma_scale)                \
  F(bool, integer_draws)               \
  ANATPASTE_JITTER_FIELDS(F)           \
  F(bool, image_background)

// variant: a CutPasteVariant. scar_*: pixels. rotation_*: degrees.
#define ANATPASTE_CUT_PASTE_FIELDS(F) \
  F(int32_t, variant)                 \
  ANATPASTE_PATCH_FIELDS(F)           \
  F(float, scar_width_low)            \
  F(float, scar_width_high)           \
  F(float, scar_length_low)           \
  F(float, scar_length_high)          \
  F(float, rotation_low)              \
  F(float, rotation_high)             \
  ANATPASTE_JITTER_FIELDS(F)

// ---- what is made of them ----

#define ANATPASTE_READ_FIELD(type, name) detail::read_setting<type>(*values++),

// A struct of these fields. Small, so that kernels take it by value.
#define ANATPASTE_SETTINGS(Settings, FIELDS)                                                            \
  struct Settings {                                                                                     \
    FIELDS(ANATPASTE_DECLARE_FIELD)                                                                     \
    static constexpr int kCount = FIELDS(ANATPASTE_COUNT_FIELD);                                        \
    static constexpr const char* kNames[] = {FIELDS(ANATPASTE_NAME_FIELD)};                             \
    /* From kCount numbers, in the order of the fields. */                                              \
    static ANATPASTE_HD Settings parse(const double* values) { return {FIELDS(ANATPASTE_READ_FIELD)}; } \
  };

namespace anatpaste {

namespace detail {

template <typename T>
ANATPASTE_HD T read_setting(double value) {
  return static_cast<T>(value);
}

// Numbers that no settings hold are cut off where the kernels' sums with them still fit into 32 bits; NaN
// becomes the low end.
template <>
ANATPASTE_HD int32_t read_setting<int32_t>(double value) {
  constexpr double kMost = 1 << 30;
  return static_cast<int32_t>(value > -kMost ? (value < kMost ? value : kMost) : -kMost);
}

template <>
ANATPASTE_HD bool read_setting<bool>(double value) {
  return value != 0.0;
}

}  // namespace detail

ANATPASTE_SETTINGS(ImageJitterSettings, ANATPASTE_JITTER_FIELDS)
ANATPASTE_SETTINGS(AnatPasteSettings, ANATPASTE_ANAT_PASTE_FIELDS)
ANATPASTE_SETTINGS(CutPasteSettings, ANATPASTE_CUT_PASTE_FIELDS)

}  // namespace anatpaste
