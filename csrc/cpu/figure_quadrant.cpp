#include "cpu/figure_quadrant.h"

#include <cstddef>

#include "cpu/simd/kernels.h"

namespace anatpaste::cpu {
namespace {

int32_t round_up(int32_t value, int32_t step) { return (value + step - 1) / step * step; }

// edges[n - first] = half_edge(n) for first <= n < first + size: the table laid out so
// that rows read it in sequence.
void lay_out_edges(FigureQuadrant& f, int32_t radius, int32_t first, int32_t size) {
  f.edges.resize(size);
  for (int32_t i = 0; i < size; ++i) f.edges[i] = half_edge(f.table.data(), radius, first + i);
}

void compute_rectangle(const PasteParams& p, int32_t radius, FigureQuadrant& f) {
  const int32_t shift = p.half_w + 1;
  f.chords.resize(f.stride);
  kernels().subtract(&f.edges[shift + p.half_w], f.edges.data(), f.stride, f.chords.data());
  for (int32_t y = 0; y < f.rows; ++y) {
    const float factor = blurred_interval(f.table.data(), radius, p.half_h, y);
    kernels().scale(f.chords.data(), factor, f.stride, &f.values[int64_t{y} * f.stride]);
  }
}

void compute_ellipse(const PasteParams& p, int32_t radius, FigureQuadrant& f) {
  const int32_t shift = p.half_w + 1;
  f.chords.resize(int64_t{p.half_h + 1} * f.stride);
  for (int32_t dy = 0; dy <= p.half_h; ++dy) {
    const int32_t half = half_chord(p.kind, p.half_h, p.half_w, dy);
    kernels().subtract(&f.edges[shift + half], &f.edges[shift - half - 1], f.stride,
                       &f.chords[int64_t{dy} * f.stride]);
  }
  const int32_t padded_rows = round_up(f.rows, kTileRows);
  f.weights.resize(padded_rows + p.half_h);
  for (std::size_t k = 0; k < f.weights.size(); ++k) {
    f.weights[k] = blur_weight(f.table.data(), radius, static_cast<int32_t>(k));
  }
  for (int32_t y = 0; y < f.rows; y += kTileRows) {
    // Rows further than the blur reaches have weight 0.
    const int32_t first = max_of(0, y - radius), last = min_of(p.half_h, y + kTileRows - 1 + radius);
    kernels().sum_chords(f.weights.data(), f.chords.data(), first, last, y, f.stride,
                         &f.values[int64_t{y} * f.stride]);
  }
}

}  // namespace

void compute_figure(const PasteParams& p, int32_t height, int32_t width, FigureQuadrant& f) {
  f.rows = f.columns = f.stride = 0;
  if (is_empty(p)) return;
  const int32_t radius = blur_radius(p.sigma);
  f.table.resize(radius);
  for (int32_t n = 0; n < radius; ++n) f.table[n] = half_edge_entry(n, p.sigma);
  f.rows = min_of(p.half_h + radius, max_of(p.centre_y, height - 1 - p.centre_y)) + 1;
  f.columns = min_of(p.half_w + radius, max_of(p.centre_x, width - 1 - p.centre_x)) + 1;
  f.stride = round_up(f.columns, kTileColumns);
  f.values.resize(int64_t{round_up(f.rows, kTileRows)} * f.stride);
  lay_out_edges(f, radius, -p.half_w - 1, 2 * p.half_w + 1 + f.stride);
  if (p.kind == kRectangle) {
    compute_rectangle(p, radius, f);
  } else {
    compute_ellipse(p, radius, f);
  }
}

}  // namespace anatpaste::cpu
