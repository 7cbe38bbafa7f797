// The figure's blur and the blend; see kernels.h.
#pragma once

#include <cstring>

#include "common/blend.h"
#include "cpu/simd/kernels.h"
#include "cpu/simd/lanes.h"
#include "cpu/simd/mask_kernels.h"

namespace anatpaste {
namespace cpu {
namespace {

// Sums of a register's 16-bit lanes, each of which takes two bytes at a time.
ANATPASTE_HD uint64_t sum_of_registers(const uint8_t* values, int64_t registers) {
  Words sums = {};
  for (int64_t i = 0; i < registers; ++i) {
    Words pairs;
    std::memcpy(&pairs, values + i * static_cast<int64_t>(sizeof pairs), sizeof pairs);
    sums += (pairs & uint16_t{0xff}) + (pairs >> 8);
  }
  uint64_t total = 0;
  for (int32_t lane = 0; lane < kWords; ++lane) total += sums[lane];
  return total;
}

uint64_t sum8(const uint8_t* values, int64_t count) {
  constexpr int64_t kBytes = sizeof(Words), kMost = 128;  // registers: 128 * 510 fits 16 bits
  uint64_t total = 0;
  while (count >= kBytes) {
    const int64_t registers = min_of(count / kBytes, kMost);
    total += sum_of_registers(values, registers);
    values += registers * kBytes;
    count -= registers * kBytes;
  }
  for (int64_t i = 0; i < count; ++i) total += values[i];
  return total;
}

// (factor * x + summand) / 2^20, rounded down, clipped.
constexpr int32_t kFractionBits = 20;
void multiply_bytes(const uint8_t* in, int64_t count, int32_t factor, int32_t summand, uint8_t* out) {
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) {
    const int32_t value = (in[i] * factor + summand) >> kFractionBits;
    out[i] = static_cast<uint8_t>(min_of(max_of(value, int32_t{0}), int32_t{255}));
  }
}

// Eight at a time, which cost one load and one store.
void look_up_bytes(const uint8_t* in, int64_t count, const uint8_t* table, uint8_t* out) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    uint64_t eight, found = 0;
    std::memcpy(&eight, in + i, sizeof eight);
    for (int k = 0; k < 8; ++k) found |= uint64_t{table[eight >> (8 * k) & 0xff]} << (8 * k);
    std::memcpy(out + i, &found, sizeof found);
  }
  for (; i < count; ++i) out[i] = table[in[i]];
}

// By 256 results, as they are defined. Integers find nearly always the same ones in less time; whether they
// do is seen at all 256.
void jitter8(const uint8_t* in, int64_t count, const Jitter& jitter, uint8_t* out) {
  constexpr int64_t kWorthIt = 2048;
  uint8_t table[256], levels[256], found[256];
  for (int32_t level = 0; level < 256; ++level) {
    levels[level] = static_cast<uint8_t>(level);
    table[level] = from_float<uint8_t>(jittered<uint8_t>(jitter, static_cast<float>(level)));
  }
  // So that no product and no sum leaves 32 bits.
  const bool small =
      jitter.slope >= 0.0f && jitter.slope < 4.0f && jitter.offset > -1000.0f && jitter.offset < 1000.0f;
  if (small && count >= kWorthIt) {
    constexpr float kOne = 1 << kFractionBits;
    const auto factor = static_cast<int32_t>(jitter.slope * kOne);
    const auto summand = static_cast<int32_t>((jitter.offset + 0.5f) * kOne);
    multiply_bytes(levels, 256, factor, summand, found);
    if (std::memcmp(found, table, sizeof table) == 0) {
      multiply_bytes(in, count, factor, summand, out);
      return;
    }
  }
  look_up_bytes(in, count, table, out);
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
