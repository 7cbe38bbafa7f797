// Rotation of a small rectangle of pixels about its centre, in integers, with nearest-neighbour sampling: the
// same pixels on every machine, and those of PIL, which also maps back in 16.16 fixed point.
#pragma once

#include "arith.h"
#include "portable.h"

namespace anatpaste {

// A turn's cosine and sine in 65536ths. Positive angles turn counterclockwise, y pointing down.
struct Turn {
  int32_t cosine, sine;
};

constexpr int32_t kWholeTurn = 65536;  // 1 in 65536ths

// To the nearest 65536th, halves away from 0, for |value| <= 1.
ANATPASTE_HD int32_t to_65536ths(float value) {
  const float scaled = value * 65536.0f;
  const int32_t rounded = static_cast<int32_t>(scaled + (scaled < 0.0f ? -0.5f : 0.5f));
  return clamp_to(rounded, -kWholeTurn, kWholeTurn);
}

// Of an angle in degrees, |angle| <= 180: Taylor sums for its half, which is within pi / 2, then that
// doubled. Before rounding within 6e-7.
ANATPASTE_HD Turn turn_of(float degrees) {
  const float x = degrees * 0.00872664626f;  // pi / 360
  const float square = x * x;
  float sine = -1.0f / 39916800.0f;
  sine = fma_rn(sine, square, 1.0f / 362880.0f);
  sine = fma_rn(sine, square, -1.0f / 5040.0f);
  sine = fma_rn(sine, square, 1.0f / 120.0f);
  sine = fma_rn(sine, square, -1.0f / 6.0f);
  sine = fma_rn(sine * square, x, x);
  float cosine = 1.0f / 479001600.0f;
  cosine = fma_rn(cosine, square, -1.0f / 3628800.0f);
  cosine = fma_rn(cosine, square, 1.0f / 40320.0f);
  cosine = fma_rn(cosine, square, -1.0f / 720.0f);
  cosine = fma_rn(cosine, square, 1.0f / 24.0f);
  cosine = fma_rn(cosine, square, -0.5f);
  cosine = fma_rn(cosine, square, 1.0f);
  return {to_65536ths(fma_rn(-2.0f * sine, sine, 1.0f)), to_65536ths(2.0f * sine * cosine)};
}

// A rectangle of height x width pixels, turned: the box around it, of the parity of the rectangle so that
// both have one centre, and the way from the box's pixels back to the rectangle's.
struct TurnedRectangle {
  int32_t height, width;
  int32_t box_height, box_width;
  int32_t cosine, sine;
  int64_t first_y, first_x;  // where the centre of the box's first pixel comes from, in 65536ths of a pixel

  // The rectangle's row and column that the box's pixel (y, x) shows; outside of it: none.
  ANATPASTE_HD int64_t source_y(int32_t y, int32_t x) const {
    return (first_y + int64_t{sine} * x + int64_t{cosine} * y) >> 16;
  }
  ANATPASTE_HD int64_t source_x(int32_t y, int32_t x) const {
    return (first_x + int64_t{cosine} * x - int64_t{sine} * y) >> 16;
  }
};

// The box's side along an axis, from the rectangle's own and the extent of the turned rectangle in 65536ths:
// from the pixel that holds its beginning to the one that holds its end.
ANATPASTE_HD int32_t box_side(int32_t side, int64_t extent) {
  const int64_t own = int64_t{side} << 16;
  const int64_t begin = (own - extent) >> 17, end = -((-own - extent) >> 17);
  return static_cast<int32_t>(end - begin);
}

ANATPASTE_HD int64_t magnitude_of(int32_t value) { return value < 0 ? -int64_t{value} : int64_t{value}; }

// Sides up to 2^29, so that nothing overflows.
ANATPASTE_HD TurnedRectangle turned_rectangle(int32_t height, int32_t width, Turn turn) {
  const int64_t along = magnitude_of(turn.cosine), across = magnitude_of(turn.sine);
  TurnedRectangle r;
  r.height = height;
  r.width = width;
  r.box_height = box_side(height, along * height + across * width);
  r.box_width = box_side(width, along * width + across * height);
  r.cosine = turn.cosine;
  r.sine = turn.sine;
  const int64_t from_centre_y = 1 - int64_t{r.box_height}, from_centre_x = 1 - int64_t{r.box_width};
  // Twice the place of the first pixel's centre, halved with halves rounded up.
  const int64_t twice_y = (int64_t{height} << 16) + turn.sine * from_centre_x + turn.cosine * from_centre_y;
  const int64_t twice_x = (int64_t{width} << 16) + turn.cosine * from_centre_x - turn.sine * from_centre_y;
  r.first_y = (twice_y + 1) >> 1;
  r.first_x = (twice_x + 1) >> 1;
  return r;
}

}  // namespace anatpaste
