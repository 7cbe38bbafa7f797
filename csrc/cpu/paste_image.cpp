#include "cpu/paste_image.h"

namespace anatpaste {
namespace cpu {
int32_t count_lung(const uint8_t* lung, int32_t height, int32_t width, PasteScratch& scratch) {
  scratch.lung_rows.resize(height);
  int32_t total = 0;
  for (int32_t y = 0; y < height; ++y) {
    scratch.lung_rows[y] = kernels().count_set(lung + int64_t{y} * width, width);
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
  kernels().scale(quadrant, p.value, last - p.centre_x, row + (p.centre_x - first));
  for (int32_t dx = 1; dx <= p.centre_x - first; ++dx) row[p.centre_x - first - dx] = p.value * quadrant[dx];
}

}  // namespace cpu
}  // namespace anatpaste
