// The figure's blur and the blend; see kernels.h.
#pragma once

#include <cstring>

#include "common/blend.h"
#include "cpu/simd/kernels.h"
#include "cpu/simd/mask_kernels.h"

namespace anatpaste {
namespace cpu {
namespace {

uint64_t sum8(const uint8_t* values, int64_t count) {
  constexpr int64_t kPiece = 1 << 24;  // bytes whose sum fits 32 bits
  uint64_t total = 0;
  for (int64_t begin = 0; begin < count; begin += kPiece) {
    const int64_t end = min_of(begin + kPiece, count);
    uint32_t piece = 0;
    for (int64_t i = begin; i < end; ++i) piece += values[i];
    total += piece;
  }
  return total;
}

SetPixels find_set(const uint8_t* row, int32_t width) {
  SetPixels set = {0, width, 0};
  for (int32_t x = 0; x < width; x += kWordBits) {
    uint64_t bits;
    pack_bytes(row + x, min_of(kWordBits, width - x), &bits);
    if (bits == 0) continue;
    if (set.count == 0) set.begin = x + __builtin_ctzll(bits);
    set.end = x + kWordBits - __builtin_clzll(bits);
    set.count += __builtin_popcountll(bits);
  }
  return set;
}

void scale(const float* row, float factor, int32_t count, float* __restrict__ out) {
  for (int32_t x = 0; x < count; ++x) out[x] = factor * row[x];
}

void scale_backwards(const float* row, float factor, int32_t count, float* __restrict__ out) {
  for (int32_t x = 0; x < count; ++x) out[x] = factor * row[-x];
}

void subtract(const float* upper, const float* lower, int32_t count, float* __restrict__ out) {
  for (int32_t x = 0; x < count; ++x) out[x] = upper[x] - lower[x];
}

// A tile's sums stay in registers.
constexpr int kLanes = ANATPASTE_SIMD >= 4 ? 16 : 8;
constexpr int kGroups = kTileColumns / kLanes;
typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float))));

// out[y][x] = sum over dy of (w[|y - dy|] + w[y + dy]) * chords[dy][x] for four rows from y on, dy in
// ascending order.
void sum_chords(const float* weights, const float* chords, int32_t first, int32_t last, int32_t y,
                int32_t stride, float* out) {
  for (int32_t x = 0; x < stride; x += kTileColumns) {
    Lanes sums[kTileRows][kGroups] = {};
    for (int32_t dy = first; dy <= last; ++dy) {
      Lanes chord[kGroups];
      std::memcpy(chord, chords + int64_t{dy} * stride + x, sizeof chord);
      for (int row = 0; row < kTileRows; ++row) {
        const int32_t above = y + row - dy;
        float weight = weights[above < 0 ? -above : above];
        if (dy != 0) weight += weights[y + row + dy];
        for (int group = 0; group < kGroups; ++group) sums[row][group] += weight * chord[group];
      }
    }
    for (int row = 0; row < kTileRows; ++row)
      std::memcpy(out + row * stride + x, sums[row], sizeof sums[row]);
  }
}

void blend_patch8(const uint8_t* normal, const uint8_t* patch, const float* figure, const uint8_t* lung,
                  int32_t count, const Jitter& jitter, uint8_t* out) {
  const Jitter factors = jitter;  // a copy, which writing to `out` cannot change
  for (int32_t x = 0; x < count; ++x) {
    const float mask = lung[x] ? figure[x] : 0.0f;
    out[x] = blended(normal[x], jittered<uint8_t>(factors, to_float(patch[x])), mask);
  }
}

void blend_black8(const uint8_t* normal, const float* figure, const uint8_t* lung, int32_t count,
                  uint8_t* out) {
  for (int32_t x = 0; x < count; ++x) out[x] = blended(normal[x], 0.0f, lung[x] ? figure[x] : 0.0f);
}

}  // namespace
}  // namespace cpu
}  // namespace anatpaste
