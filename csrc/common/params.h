// What is drawn for an image, which travels as a row of two tensors: params_int, int32, and params_real,
// float32. Each list of fields below is the one place that says which columns they have and in which order.
// Struct, reader, writer, numbers and names all follow from it, and _C hands the names to Python, which has
// its own fields in this order or does not load (anatpaste_gpu/operator_params.py).
#pragma once

#include "fields.h"
#include "portable.h"

// ---- fields: F(type, name), in the order of the columns ----

// AnatPaste: the patch that is cut out; the figure it is seen through, a FigureKind of (2 half_h + 1) x
// (2 half_w + 1) pixels, empty if either is negative; and the pixel that both are centred on.
#define ANATPASTE_PASTE_INTS(F) \
  F(int32_t, cut_h)             \
  F(int32_t, cut_w)             \
  F(int32_t, top)               \
  F(int32_t, left)              \
  F(int32_t, kind)              \
  F(int32_t, half_h)            \
  F(int32_t, half_w)            \
  F(int32_t, centre_y)          \
  F(int32_t, centre_x)

#define ANATPASTE_PASTE_REALS(F) \
  F(float, value)                \
  F(float, sigma)                \
  F(float, brightness)           \
  F(float, contrast)

// CutPaste: kCutPasteNormal or kCutPasteScar; what is cut out; how far it is turned, in 65536ths; and where
// the box around it is pasted.
#define ANATPASTE_CUT_PASTE_INTS(F) \
  F(int32_t, kind)                  \
  F(int32_t, cut_h)                 \
  F(int32_t, cut_w)                 \
  F(int32_t, top)                   \
  F(int32_t, left)                  \
  F(int32_t, cosine)                \
  F(int32_t, sine)                  \
  F(int32_t, paste_top)             \
  F(int32_t, paste_left)

#define ANATPASTE_CUT_PASTE_REALS(F) \
  F(float, brightness)               \
  F(float, contrast)

// ---- what is made of them ----

#define ANATPASTE_READ_INT(type, name) *ints++,
#define ANATPASTE_READ_REAL(type, name) *reals++,
#define ANATPASTE_WRITE_INT(type, name) *ints++ = name;
#define ANATPASTE_WRITE_REAL(type, name) *reals++ = name;

// A struct of these fields, and its way from and to a row of the tensors.
#define ANATPASTE_PARAMS(Params, INTS, REALS)                                                       \
  struct Params {                                                                                   \
    INTS(ANATPASTE_DECLARE_FIELD)                                                                   \
    REALS(ANATPASTE_DECLARE_FIELD)                                                                  \
    static constexpr int kInts = INTS(ANATPASTE_COUNT_FIELD);                                       \
    static constexpr int kReals = REALS(ANATPASTE_COUNT_FIELD);                                     \
    static constexpr const char* kIntNames[] = {INTS(ANATPASTE_NAME_FIELD)};                        \
    static constexpr const char* kRealNames[] = {REALS(ANATPASTE_NAME_FIELD)};                      \
    static ANATPASTE_HD Params load(const int32_t* ints, const float* reals, int64_t row) {         \
      ints += row * kInts;                                                                          \
      reals += row * kReals;                                                                        \
      return {INTS(ANATPASTE_READ_INT) REALS(ANATPASTE_READ_REAL)};                                 \
    }                                                                                               \
    ANATPASTE_HD void store(int32_t* ints, float* reals, int64_t row) const {                       \
      ints += row * kInts;                                                                          \
      reals += row * kReals;                                                                        \
      INTS(ANATPASTE_WRITE_INT)                                                                     \
      REALS(ANATPASTE_WRITE_REAL)                                                                   \
    }                                                                                               \
  };                                                                                                \
  static_assert(sizeof(Params) == Params::kInts * sizeof(int32_t) + Params::kReals * sizeof(float), \
                "every field is a column");

namespace anatpaste {

ANATPASTE_PARAMS(PasteParams, ANATPASTE_PASTE_INTS, ANATPASTE_PASTE_REALS)
ANATPASTE_PARAMS(CutPasteParams, ANATPASTE_CUT_PASTE_INTS, ANATPASTE_CUT_PASTE_REALS)

// Published: the shapes that users pack and replay.
static_assert(PasteParams::kInts == 9 && PasteParams::kReals == 4,
              "params of anat_paste are (B,9) and (B,4)");
static_assert(CutPasteParams::kInts == 9 && CutPasteParams::kReals == 2,
              "params of cut_paste are (B,9) and (B,2)");

}  // namespace anatpaste
