#include "cpu/paste_image.h"

namespace anatpaste {
namespace cpu {
int32_t count_lung(const uint8_t* lung, int32_t height, int32_t width, PasteScratch& scratch) {
  scratch.lung_rows.resize(height);
  int32_t total = 0;
  for (int32_t y = 0; y < height; ++y) {
    scratch.lung_rows[y] = kernels().find_set(lung + int64_t{y} * width, width);
    total += scratch.lung_rows[y].count;
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
  while (rank >= scratch.lung_rows[y].count) rank -= scratch.lung_rows[y++].count;
  const uint8_t* row = lung + int64_t{y} * view.width;
  int32_t x = scratch.lung_rows[y].begin;
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
  // Columns before the centre see the quadrant mirrored.
  const int32_t middle = clamp_to(p.centre_x, first, last);
  kernels().scale_backwards(quadrant + (p.centre_x - first), p.value, middle - first, row);
  kernels().scale(quadrant + (middle - p.centre_x), p.value, last - middle, row + (middle - first));
}

}  // namespace cpu
}  // namespace anatpaste
