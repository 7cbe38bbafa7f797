// The pasted figure: an integer raster (rectangle or ellipse), blurred by the pixel-integrated Gaussian
//   w_k = Phi((k + 1/2) / sigma) - Phi((k - 1/2) / sigma)
// on an infinite plane. The sum of w over an interval telescopes, so that one table an image is all it takes:
//   half_edge(n) = Phi((n + 1/2) / sigma) - 1/2,   odd about n = -1/2.
// The table feeds pixel values only; it decides nothing.
#pragma once

#include "arith.h"
#include "draw.h"
#include "portable.h"

namespace anatpaste {

// Below this sigma the kernel differs from a delta by less than 7e-5, and 1 / sigma could overflow.
constexpr float kSharpSigma = 0.125f;

// Entries of the table, n = 0 .. radius - 1; beyond, Phi is taken as 1 (4 sigma: 3.2e-5 is cut off).
ANATPASTE_HD int32_t blur_radius(float sigma) {
  return sigma < kSharpSigma ? 0 : static_cast<int32_t>(4.0f * sigma) + 1;
}

// Phi(x) - 1/2 for x >= 0, within 2.5e-7: erf by Abramowitz and Stegun 7.1.26.
ANATPASTE_HD float half_normal_cdf(float x) {
  const float z = x * 0.70710678f;
  const float t = div_rn(1.0f, fma_rn(0.3275911f, z, 1.0f));
  float sum = 1.061405429f;
  sum = fma_rn(sum, t, -1.453152027f);
  sum = fma_rn(sum, t, 1.421413741f);
  sum = fma_rn(sum, t, -0.284496736f);
  sum = fma_rn(sum, t, 0.254829592f);
  return fma_rn(-0.5f * sum * t, exp_exact(-z * z), 0.5f);
}

// The table's entry n, 0 <= n < blur_radius(sigma).
ANATPASTE_HD float half_edge_entry(int32_t n, float sigma) {
  return half_normal_cdf(div_rn(static_cast<float>(n) + 0.5f, sigma));
}

// half_edge(n) for any n, from a table of `radius` entries.
ANATPASTE_HD float half_edge(const float* table, int32_t radius, int32_t n) {
  const int32_t m = n < 0 ? -1 - n : n;
  const float magnitude = m < radius ? table[m] : 0.5f;
  return n < 0 ? -magnitude : magnitude;
}

// The interval [-half, half] blurred, at distance d from its middle.
ANATPASTE_HD float blurred_interval(const float* table, int32_t radius, int32_t half, int32_t d) {
  return half_edge(table, radius, d + half) - half_edge(table, radius, d - half - 1);
}

// The kernel's weight w_k.
ANATPASTE_HD float blur_weight(const float* table, int32_t radius, int32_t k) {
  return blurred_interval(table, radius, 0, k);
}

// The weight of the raster rows +dy and -dy together (a figure is symmetric) in the blurred figure's row y.
ANATPASTE_HD float row_pair_weight(const float* table, int32_t radius, int32_t y, int32_t dy) {
  const float weight = blur_weight(table, radius, y - dy);
  return dy == 0 ? weight : weight + blur_weight(table, radius, y + dy);
}

// Whether pixel (dy, dx) from the centre belongs to the ellipse: 4 (dx^2 B^2 + dy^2 A^2) <= A^2 B^2, A = 2
// half_w + 1, B = 2 half_h + 1. 64 bits hold this up to sides of 32768.
ANATPASTE_HD bool inside_ellipse(int32_t half_h, int32_t half_w, int32_t dy, int32_t dx) {
  const int64_t a = 2 * half_w + 1, b = 2 * half_h + 1;
  const int64_t x = dx, y = dy;
  return 4 * (x * x * b * b + y * y * a * a) <= a * a * b * b;
}

// The figure's row dy, |dy| <= half_h, holds the pixels -half_chord .. half_chord.
ANATPASTE_HD int32_t half_chord(int32_t kind, int32_t half_h, int32_t half_w, int32_t dy) {
  if (kind == kRectangle) return half_w;
  // A guess in float, corrected by the integer predicate, which alone decides.
  const float slope = div_rn(static_cast<float>(2 * dy), static_cast<float>(2 * half_h + 1));
  const float guess = (static_cast<float>(half_w) + 0.5f) * sqrt_rn(1.0f - slope * slope);
  int32_t dx = clamp_to(static_cast<int32_t>(guess), 0, half_w);
  while (dx > 0 && !inside_ellipse(half_h, half_w, dy, dx)) --dx;
  while (dx < half_w && inside_ellipse(half_h, half_w, dy, dx + 1)) ++dx;
  return dx;
}

ANATPASTE_HD bool is_empty(const PasteParams& p) { return p.half_h < 0 || p.half_w < 0; }

// The blurred figure before its value, at (y, x) from the centre, by definition: the sum over its rows.
// Kernels that compute many pixels tile this sum, rows dy in ascending order; a rectangle is a plain product.
ANATPASTE_HD float blurred_figure(const PasteParams& p, const float* table, int32_t radius, int32_t y,
                                  int32_t x) {
  if (is_empty(p)) return 0.0f;
  if (p.kind == kRectangle) {
    return blurred_interval(table, radius, p.half_h, y) * blurred_interval(table, radius, p.half_w, x);
  }
  float sum = 0.0f;
  for (int32_t dy = 0; dy <= p.half_h; ++dy) {
    const int32_t chord = half_chord(p.kind, p.half_h, p.half_w, dy);
    sum = sum + row_pair_weight(table, radius, y, dy) * blurred_interval(table, radius, chord, x);
  }
  return sum;
}

}  // namespace anatpaste
