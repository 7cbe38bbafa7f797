// AnatPaste on one image: equation 1, within the lung and the reach of the figure's blur.
#pragma once

#include <cstring>
#include <vector>

#include "common/blend.h"
#include "common/draw.h"
#include "cpu/figure_quadrant.h"
#include "cpu/pixel_sums.h"
#include "cpu/simd/kernels.h"

namespace anatpaste {
namespace cpu {

// Working memory of one thread.
struct PasteScratch {
  FigureQuadrant figure;
  std::vector<SetPixels> lung_rows;  // lung pixels of each row
  std::vector<float> figure_row;     // the figure's values along one image row
  std::vector<uint8_t> ones;         // a row of lung, for images that have none
};

struct ImageView {
  int channels;
  int32_t height, width;
  bool image_background;  // beyond the patch: the image itself, or black
};

// What is pasted along a run of pixels: the jittered patch, or black where there is none.
template <typename T>
void blend_patch(const T* normal, const T* patch, const float* figure, const uint8_t* lung, int32_t count,
                 const Jitter& jitter, T* out) {
  for (int32_t x = 0; x < count; ++x) {
    const float mask = lung[x] ? figure[x] : 0.0f;
    out[x] = blended(normal[x], jittered<T>(jitter, to_float(patch[x])), mask);
  }
}

template <typename T>
void blend_black(const T* normal, const float* figure, const uint8_t* lung, int32_t count, T* out) {
  for (int32_t x = 0; x < count; ++x) out[x] = blended(normal[x], 0.0f, lung[x] ? figure[x] : 0.0f);
}

// Grey bytes are what training pastes: these two are compiled for wide registers.
inline void blend_patch(const uint8_t* normal, const uint8_t* patch, const float* figure, const uint8_t* lung,
                        int32_t count, const Jitter& jitter, uint8_t* out) {
  kernels().blend_patch8(normal, patch, figure, lung, count, jitter, out);
}

inline void blend_black(const uint8_t* normal, const float* figure, const uint8_t* lung, int32_t count,
                        uint8_t* out) {
  kernels().blend_black8(normal, figure, lung, count, out);
}

// Finds the lung pixels of each row for scratch.lung_rows and returns how many there are in all.
int32_t count_lung(const uint8_t* lung, int32_t height, int32_t width, PasteScratch& scratch);

// Puts the centre on the lung pixel number `rank` in raster order; without a mask (null) every pixel counts.
void place_centre(const uint8_t* lung, const ImageView& view, const PasteScratch& scratch, int32_t rank,
                  PasteParams& p);

// The figure times its value on image row y, columns first .. last - 1, into scratch.figure_row.
void expand_figure_row(const PasteParams& p, int32_t y, int32_t first, int32_t last, PasteScratch& scratch);

// Pastes along one row, for columns first .. last - 1, whose figure is in scratch.figure_row.
template <typename T>
void blend_row(const T* plane, const uint8_t* lung, const PasteParams& p, const ImageView& view,
               const Jitter& jitter, int32_t y, int32_t first, int32_t last, const float* figure, T* out) {
  const T* normal = plane + int64_t{y} * view.width;
  T* result = out + int64_t{y} * view.width;
  const int32_t patch_y = y - p.centre_y + p.cut_h / 2;
  const int32_t shift =
      p.left - p.centre_x + p.cut_w / 2;  // from an image column to the patch's source column
  int32_t begin = first, end = first;     // the columns that see the patch
  if (patch_y >= 0 && patch_y < p.cut_h) {
    begin = clamp_to(p.left - shift, first, last);
    end = clamp_to(p.left + p.cut_w - shift, begin, last);
    const T* patch = plane + int64_t{p.top + patch_y} * view.width + shift;
    blend_patch(normal + begin, patch + begin, figure + begin - first, lung + begin, end - begin, jitter,
                result + begin);
  }
  if (view.image_background) return;
  blend_black(normal + first, figure, lung + first, begin - first, result + first);
  blend_black(normal + end, figure + end - first, lung + end, last - end, result + end);
}

// Writes the augmented image to `out`, and the blurred figure to `figure_out` unless that is null. A null
// `lung` stands for a mask of ones.
template <typename T>
void paste_image(const T* image, const uint8_t* lung, const PasteParams& p, const ImageView& view, T* out,
                 float* figure_out, PasteScratch& scratch) {
  const int64_t pixels = int64_t{view.height} * view.width;
  std::memcpy(out, image, view.channels * pixels * sizeof(T));
  if (figure_out != nullptr) std::memset(figure_out, 0, pixels * sizeof(float));
  compute_figure(p, view.height, view.width, scratch.figure);
  const int32_t reach_y = scratch.figure.rows, reach_x = scratch.figure.columns;
  if (reach_y == 0) return;
  const float mean =
      rectangle_mean(image, view.channels, view.height, view.width, p.top, p.left, p.cut_h, p.cut_w);
  const Jitter jitter = make_jitter(p.brightness, p.contrast, mean);
  const int32_t left = max_of(p.centre_x - reach_x + 1, 0), right = min_of(p.centre_x + reach_x, view.width);
  const int32_t top = max_of(p.centre_y - reach_y + 1, 0), bottom = min_of(p.centre_y + reach_y, view.height);
  if (lung == nullptr) scratch.ones.assign(view.width, 1);
  for (int32_t y = top; y < bottom; ++y) {
    int32_t first = left, last = right;
    // Without lung nothing is pasted, so its outermost pixels bound what is looked at.
    if (lung != nullptr && figure_out == nullptr) {
      first = max_of(first, scratch.lung_rows[y].begin);
      last = min_of(last, scratch.lung_rows[y].end);
    }
    if (first >= last) continue;
    expand_figure_row(p, y, first, last, scratch);
    const float* figure = scratch.figure_row.data();
    if (figure_out != nullptr) {
      std::memcpy(figure_out + int64_t{y} * view.width + first, figure, (last - first) * sizeof(float));
    }
    const uint8_t* lung_row = lung == nullptr ? scratch.ones.data() : lung + int64_t{y} * view.width;
    for (int channel = 0; channel < view.channels; ++channel) {
      blend_row(image + channel * pixels, lung_row, p, view, jitter, y, first, last, figure,
                out + channel * pixels);
    }
  }
}

}  // namespace cpu
}  // namespace anatpaste
