// The blurred figure on a CPU: one quadrant of it, as a figure is symmetric about both of its axes.
#pragma once

#include <vector>

#include "common/figure_blur.h"

namespace anatpaste::cpu {

struct FigureQuadrant {
  // rows x columns pixels reach as far as the blur, or the image, does; row y starts at values[y * stride].
  int32_t rows = 0, columns = 0, stride = 0;
  std::vector<float> values;
  std::vector<float> table, edges, weights, chords;  // scratch, kept from image to image
};

// The figure of `p` (sanitised) before its value, on an image of height x width.
void compute_figure(const PasteParams& p, int32_t height, int32_t width, FigureQuadrant& figure);

}  // namespace anatpaste::cpu
