#include "cpu/paste_image.h"

namespace anatpaste {
namespace cpu {
namespace {

ANATPASTE_CLONES int32_t count_set(const uint8_t* row, int32_t width) {
  int32_t count = 0;
  for (int32_t x = 0; x < width; ++x) count += row[x] != 0;
  return count;
}

ANATPASTE_CLONES void scale_row(const float* row, float value, int32_t count, float* out) {
  for (int32_t x = 0; x < count; ++x) out[x] = value * row[x];
}

}  // namespace

ANATPASTE_CLONES void blend_patch(const uint8_t* normal, const uint8_t* patch, const float* figure,
                                  const uint8_t* lung, int32_t count, const Jitter& jitter, uint8_t* out) {
  const Jitter factors = jitter;  // a copy, which writing to `out` cannot change
  for (int32_t x = 0; x < count; ++x) {
    const float mask = lung[x] ? figure[x] : 0.0f;
    out[x] = blended(normal[x], jittered<uint8_t>(factors, to_float(patch[x])), mask);
  }
}

ANATPASTE_CLONES void blend_black(const uint8_t* normal, const float* figure, const uint8_t* lung,
                                  int32_t count, uint8_t* out) {
  for (int32_t x = 0; x < count; ++x) out[x] = blended(normal[x], 0.0f, lung[x] ? figure[x] : 0.0f);
}

int32_t count_lung(const uint8_t* lung, int32_t height, int32_t width, PasteScratch& scratch) {
  scratch.lung_rows.resize(height);
  int32_t total = 0;
  for (int32_t y = 0; y < height; ++y) {
    scratch.lung_rows[y] = count_set(lung + int64_t{y} * width, width);
    total += scratch.lung_rows[y];
  }
  return total;
}

void place_centre(const uint8_t* lung, const ImageView& view, const PasteScratch& scratch, int32_t rank,
                  PasteParams& p) {
  if (lung == nullptr) {
    p.centre_y = rank / view.width;
    p.centre_x = rank % view.width;
    return;
  }
  int32_t y = 0;
  while (rank >= scratch.lung_rows[y]) rank -= scratch.lung_rows[y++];
  const uint8_t* row = lung + int64_t{y} * view.width;
  int32_t x = 0;
  while (row[x] == 0 || rank-- > 0) ++x;
  p.centre_y = y;
  p.centre_x = x;
}

void expand_figure_row(const PasteParams& p, int32_t y, int32_t first, int32_t last, PasteScratch& scratch) {
  const FigureQuadrant& figure = scratch.figure;
  const int32_t dy = y < p.centre_y ? p.centre_y - y : y - p.centre_y;
  const float* quadrant = &figure.values[int64_t{dy} * figure.stride];
  scratch.figure_row.resize(last - first);
  float* row = scratch.figure_row.data();
  scale_row(quadrant, p.value, last - p.centre_x, row + (p.centre_x - first));
  for (int32_t dx = 1; dx <= p.centre_x - first; ++dx) row[p.centre_x - first - dx] = p.value * quadrant[dx];
}

}  // namespace cpu
}  // namespace anatpaste
