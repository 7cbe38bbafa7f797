#include "cpu/equalize.h"

#include <cstring>

#include "cpu/simd.h"

namespace anatpaste {
namespace cpu {
namespace {

// Copies of the histogram, so that runs of one value do not wait for their own last increment.
constexpr int32_t kCopies = 4;

template <typename T>
Extremes extremes_of(const T* values, int64_t count) {
  T low = values[0], high = values[0];
  for (int64_t i = 1; i < count; ++i) {
    low = min_of(low, values[i]);
    high = max_of(high, values[i]);
  }
  return {low, high};
}

ANATPASTE_CLONES Extremes extremes8(const uint8_t* values, int64_t count) {
  return extremes_of(values, count);
}
ANATPASTE_CLONES Extremes extremes16(const uint16_t* values, int64_t count) {
  return extremes_of(values, count);
}

ANATPASTE_CLONES void bins_of(const uint16_t* deep, int64_t count, int32_t low, int32_t high, uint8_t* bins) {
  for (int64_t i = 0; i < count; ++i) bins[i] = static_cast<uint8_t>(level_bin(level_of(deep[i], low, high)));
}

void count_row(const uint8_t* bytes, int32_t count, int32_t (*counts)[256]) {
  int32_t i = 0;
  for (; i + kCopies <= count; i += kCopies) {
    for (int32_t copy = 0; copy < kCopies; ++copy) ++counts[copy][bytes[i + copy]];
  }
  for (; i < count; ++i) ++counts[0][bytes[i]];
}

// Steps 1 and 2 of the redistribution; returns the excess left for step 3.
ANATPASTE_CLONES int32_t clip_and_raise(int32_t* counts, int32_t clip) {
  int32_t excess = 0;
  for (int32_t b = 0; b < kBins; ++b) {
    excess += over_clip(counts[b], clip);
    counts[b] = min_of(counts[b], clip);
  }
  const int32_t share = excess / kBins;
  for (int32_t b = 0; b < kBins; ++b) {
    const int32_t raised = raise_bin(counts[b], clip, share);
    excess -= raised - counts[b];
    counts[b] = raised;
  }
  return excess;
}

ANATPASTE_CLONES int32_t count_under(const int32_t* counts, int32_t clip) {
  int32_t under = 0;
  for (int32_t b = 0; b < kBins; ++b) under += counts[b] < clip;
  return under;
}

// Step 3.
void spread_rest(int32_t* counts, int32_t clip, int32_t excess) {
  while (excess > 0) {
    for (int32_t first = 0; first < kBins && excess > 0; ++first) {
      const int32_t under = count_under(counts, clip);
      if (under == 0) return;
      const int32_t step = spread_step(under, excess);
      for (int32_t b = first; b < kBins; b += step) {
        const int32_t grows = counts[b] < clip;
        counts[b] += grows;
        excess -= grows;
      }
    }
  }
}

// out[x] = quad of the block that column x lies in, at the pixel's byte. One flat loop: short ones mispredict
// their ends.
void look_up_row(const uint8_t* bytes, const uint64_t* quads, const int32_t* column_quads, int32_t width,
                 uint64_t* out) {
  for (int32_t x = 0; x < width; ++x) out[x] = quads[column_quads[x] + bytes[x]];
}

// quads[p] = the four maps at p, 16 bits each, in the order of Corners.
ANATPASTE_CLONES void interleave(const uint16_t* m00, const uint16_t* m01, const uint16_t* m10,
                                 const uint16_t* m11, uint64_t* quads) {
  for (int32_t p = 0; p < 256; ++p) {
    const uint32_t upper = m00[p] | static_cast<uint32_t>(m01[p]) << 16;
    const uint32_t lower = m10[p] | static_cast<uint32_t>(m11[p]) << 16;
    quads[p] = upper | static_cast<uint64_t>(lower) << 32;
  }
}

// One row of the interpolation: the looked-up quads and the weights of every column.
struct BlendRow {
  const uint64_t* quads;
  const int32_t* x_before;
  const int32_t* x_after;
  const double* x_before_d;
  const double* x_after_d;
  int32_t width;

  ANATPASTE_HD Corners corners(int32_t x) const {
    const auto upper = static_cast<uint32_t>(quads[x]), lower = static_cast<uint32_t>(quads[x] >> 32);
    return {static_cast<int32_t>(upper & 0xffff), static_cast<int32_t>(upper >> 16),
            static_cast<int32_t>(lower & 0xffff), static_cast<int32_t>(lower >> 16)};
  }
  ANATPASTE_HD AxisWeights weights(int32_t x) const { return {x_before[x], x_after[x]}; }
  ANATPASTE_HD AxisFractions fractions(int32_t x) const { return {x_before_d[x], x_after_d[x]}; }
};

template <typename Level>
ANATPASTE_HD void store_row(int32_t width, int16_t* levels, Extremes* extremes, const Level& level) {
  int32_t low = extremes->low, high = extremes->high;
  for (int32_t x = 0; x < width; ++x) {
    const int32_t value = level(x);
    low = min_of(low, value);
    high = max_of(high, value);
    levels[x] = static_cast<int16_t>(value);
  }
  *extremes = {low, high};
}

ANATPASTE_CLONES void blend_row_shift(const BlendRow& row, AxisWeights y, int32_t shift, int16_t* levels,
                                      Extremes* extremes) {
  store_row(row.width, levels, extremes, [&](int32_t x) __attribute__((always_inline)) {
    return blend_shift(row.corners(x), y, row.weights(x), shift);
  });
}

ANATPASTE_CLONES void blend_row_scaled(const BlendRow& row, AxisWeights y, float scale, int16_t* levels,
                                       Extremes* extremes) {
  store_row(row.width, levels, extremes, [&](int32_t x) __attribute__((always_inline)) {
    return blend_scaled(row.corners(x), y, row.weights(x), scale);
  });
}

ANATPASTE_CLONES void blend_row_divide(const BlendRow& row, AxisWeights y, float pixels, int16_t* levels,
                                       Extremes* extremes) {
  store_row(row.width, levels, extremes, [&](int32_t x) __attribute__((always_inline)) {
    return blend_divide(row.corners(x), y, row.weights(x), pixels);
  });
}

ANATPASTE_CLONES void blend_row_double(const BlendRow& row, AxisFractions y, int16_t* levels,
                                       Extremes* extremes) {
  store_row(row.width, levels, extremes, [&](int32_t x) __attribute__((always_inline)) {
    return blend_double(row.corners(x), y, row.fractions(x));
  });
}

}  // namespace

Equalizer::Equalizer(int32_t height, int32_t width, double clip_limit)
    : y_(tile_axis(height)),
      x_(tile_axis(width)),
      clip_(clip_count(clip_limit, y_.tile * x_.tile)),
      form_(choose_blend(y_.tile, x_.tile)),
      maps_(static_cast<std::size_t>(y_.count) * x_.count * 256),
      quads_(static_cast<std::size_t>(x_.count + 1) * 256),
      column_quads_(width),
      x_before_(width),
      x_after_(width),
      x_before_d_(width),
      x_after_d_(width),
      row_(width) {
  for (int32_t x = 0; x < width; ++x) {
    const int32_t offset = tile_position(x, x_).offset;
    const AxisFractions fractions = axis_fractions(offset, x_.tile);
    column_quads_[x] = (x + x_.tile / 2) / x_.tile * 256;
    x_before_[x] = x_.tile - offset;
    x_after_[x] = offset;
    x_before_d_[x] = fractions.before;
    x_after_d_[x] = fractions.after;
  }
}

Extremes Equalizer::run(const uint8_t* image, int16_t* levels) {
  const Extremes range = extremes8(image, pixels());
  const int32_t low = depth16(static_cast<uint8_t>(range.low)),
                high = depth16(static_cast<uint8_t>(range.high));
  for (int32_t p = 0; p < 256; ++p) {
    const int32_t inside = clamp_to(p, range.low, range.high);  // no other value occurs
    bin_of_[p] = static_cast<uint8_t>(level_bin(level_of(depth16(static_cast<uint8_t>(inside)), low, high)));
  }
  bytes_ = image;
  return equalize(levels);
}

Extremes Equalizer::run(const uint16_t* image, int16_t* levels) {
  const Extremes range = extremes16(image, pixels());
  bins_.resize(static_cast<std::size_t>(pixels()));
  bins_of(image, pixels(), range.low, range.high, bins_.data());
  for (int32_t b = 0; b < 256; ++b) bin_of_[b] = static_cast<uint8_t>(b);
  bytes_ = bins_.data();
  return equalize(levels);
}

Extremes Equalizer::equalize(int16_t* levels) {
  int32_t counts[kBins];
  for (int32_t tile_y = 0; tile_y < y_.count; ++tile_y) {
    for (int32_t tile_x = 0; tile_x < x_.count; ++tile_x) {
      count_tile(tile_y, tile_x, counts);
      map_tile(counts, &maps_[(static_cast<std::size_t>(tile_y) * x_.count + tile_x) * 256]);
    }
  }
  return blend(levels);
}

void Equalizer::count_tile(int32_t tile_y, int32_t tile_x, int32_t* counts) const {
  int32_t copies[kCopies][256] = {};
  const int32_t x_begin = tile_x * x_.tile, x_end = x_begin + x_.tile;
  const int32_t x_inside = min_of(x_end, x_.size);
  for (int32_t y = tile_y * y_.tile; y < (tile_y + 1) * y_.tile; ++y) {
    const uint8_t* row = bytes_ + static_cast<std::size_t>(reflect(y, y_.size)) * x_.size;
    count_row(row + x_begin, x_inside - x_begin, copies);
    for (int32_t x = x_inside; x < x_end; ++x) ++copies[0][row[reflect(x, x_.size)]];
  }
  for (int32_t b = 0; b < kBins; ++b) counts[b] = 0;
  for (int32_t p = 0; p < 256; ++p) {
    counts[bin_of_[p]] += copies[0][p] + copies[1][p] + copies[2][p] + copies[3][p];
  }
}

void Equalizer::map_tile(int32_t* counts, uint16_t* map) const {
  spread_rest(counts, clip_, clip_and_raise(counts, clip_));
  const double scale = map_scale(y_.tile * x_.tile);
  uint16_t of_bin[kBins];
  int32_t cumulative = 0;
  for (int32_t b = 0; b < kBins; ++b) {
    cumulative += counts[b];
    of_bin[b] = static_cast<uint16_t>(map_level(cumulative, scale));
  }
  for (int32_t p = 0; p < 256; ++p) map[p] = of_bin[bin_of_[p]];
}

void Equalizer::place_quads(int32_t tile_row_before, int32_t tile_row_after) {
  const uint16_t* upper = &maps_[static_cast<std::size_t>(tile_row_before) * x_.count * 256];
  const uint16_t* lower = &maps_[static_cast<std::size_t>(tile_row_after) * x_.count * 256];
  for (int32_t block = 0; block <= x_.count; ++block) {
    const int32_t before = max_of(block - 1, int32_t{0}) * 256, after = min_of(block, x_.count - 1) * 256;
    interleave(upper + before, upper + after, lower + before, lower + after, &quads_[block * 256]);
  }
}

Extremes Equalizer::blend(int16_t* levels) {
  const BlendRow row = {row_.data(),        x_before_.data(),  x_after_.data(),
                        x_before_d_.data(), x_after_d_.data(), x_.size};
  const int32_t tile_pixels = y_.tile * x_.tile;
  const int32_t shift = log2_floor(tile_pixels);
  Extremes extremes = {kMaxLevel, 0};
  for (int32_t y = 0; y < y_.size; ++y, levels += x_.size) {
    const TilePosition position = tile_position(y, y_);
    if (y == 0 || position.offset == 0) place_quads(position.before, position.after);
    look_up_row(bytes_ + static_cast<std::size_t>(y) * x_.size, quads_.data(), column_quads_.data(), x_.size,
                row_.data());
    const AxisWeights weights = {y_.tile - position.offset, position.offset};
    if (form_ == Blend::kShift) {
      blend_row_shift(row, weights, shift, levels, &extremes);
    } else if (form_ == Blend::kScaled) {
      blend_row_scaled(row, weights, 1.0f / static_cast<float>(tile_pixels), levels, &extremes);
    } else if (form_ == Blend::kDivide) {
      blend_row_divide(row, weights, static_cast<float>(tile_pixels), levels, &extremes);
    } else {
      blend_row_double(row, axis_fractions(position.offset, y_.tile), levels, &extremes);
    }
  }
  return extremes;
}

}  // namespace cpu
}  // namespace anatpaste
