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

void count_row(const uint8_t* bins, int32_t count, int32_t (*counts)[kBins]) {
  int32_t i = 0;
  for (; i + kCopies <= count; i += kCopies) {
    for (int32_t copy = 0; copy < kCopies; ++copy) ++counts[copy][bins[i + copy]];
  }
  for (; i < count; ++i) ++counts[0][bins[i]];
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

// out[x] = pairs of the block that column x lies in, at the pixel's bin.
ANATPASTE_CLONES void look_up_row(const uint8_t* bins, const uint32_t* pairs, const int32_t* block_start,
                                  int32_t blocks, uint32_t* out) {
  for (int32_t block = 0; block < blocks; ++block) {
    const uint32_t* table = pairs + static_cast<int64_t>(block) * kBins;
    for (int32_t x = block_start[block]; x < block_start[block + 1]; ++x) out[x] = table[bins[x]];
  }
}

// One row of the interpolation: the looked-up pairs of both tile rows, and the weights of every column.
struct BlendRow {
  const uint32_t* upper;
  const uint32_t* lower;
  const int32_t* x_before;
  const int32_t* x_after;
  const double* x_before_d;
  const double* x_after_d;
  int32_t width;

  ANATPASTE_HD Corners corners(int32_t x) const {
    return {static_cast<int32_t>(upper[x] & 0xffff), static_cast<int32_t>(upper[x] >> 16),
            static_cast<int32_t>(lower[x] & 0xffff), static_cast<int32_t>(lower[x] >> 16)};
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
      bins_(pixels()),
      maps_(static_cast<std::size_t>(y_.count) * x_.count * kBins),
      pairs_(static_cast<std::size_t>(y_.count) * (x_.count + 1) * kBins),
      block_start_(x_.count + 2),
      x_before_(width),
      x_after_(width),
      x_before_d_(width),
      x_after_d_(width),
      upper_(width),
      lower_(width) {
  for (int32_t block = 0; block <= x_.count + 1; ++block) {
    block_start_[block] = clamp_to(block * x_.tile - x_.tile / 2, int32_t{0}, width);
  }
  for (int32_t x = 0; x < width; ++x) {
    const int32_t offset = tile_position(x, x_).offset;
    const AxisFractions fractions = axis_fractions(offset, x_.tile);
    x_before_[x] = x_.tile - offset;
    x_after_[x] = offset;
    x_before_d_[x] = fractions.before;
    x_after_d_[x] = fractions.after;
  }
}

Extremes Equalizer::run(const uint8_t* image, int16_t* levels) {
  const Extremes range = extremes8(image, pixels());
  uint8_t table[256] = {};
  for (int32_t p = range.low; p <= range.high; ++p) {
    table[p] = static_cast<uint8_t>(
        level_bin(level_of(depth16(static_cast<uint8_t>(p)), 257 * range.low, 257 * range.high)));
  }
  for (int64_t i = 0; i < pixels(); ++i) bins_[i] = table[image[i]];
  return equalize(levels);
}

Extremes Equalizer::run(const uint16_t* image, int16_t* levels) {
  find_bins(image);
  return equalize(levels);
}

void Equalizer::find_bins(const uint16_t* deep) {
  const Extremes range = extremes16(deep, pixels());
  bins_of(deep, pixels(), range.low, range.high, bins_.data());
}

Extremes Equalizer::equalize(int16_t* levels) {
  int32_t counts[kBins];
  for (int32_t tile_y = 0; tile_y < y_.count; ++tile_y) {
    for (int32_t tile_x = 0; tile_x < x_.count; ++tile_x) {
      count_tile(tile_y, tile_x, counts);
      map_tile(counts, &maps_[(static_cast<std::size_t>(tile_y) * x_.count + tile_x) * kBins]);
    }
  }
  pair_maps();
  return blend(levels);
}

void Equalizer::count_tile(int32_t tile_y, int32_t tile_x, int32_t* counts) {
  int32_t copies[kCopies][kBins] = {};
  const int32_t x_begin = tile_x * x_.tile, x_end = x_begin + x_.tile;
  const int32_t x_inside = min_of(x_end, x_.size);
  for (int32_t y = tile_y * y_.tile; y < (tile_y + 1) * y_.tile; ++y) {
    const uint8_t* row = &bins_[static_cast<std::size_t>(reflect(y, y_.size)) * x_.size];
    count_row(row + x_begin, x_inside - x_begin, copies);
    for (int32_t x = x_inside; x < x_end; ++x) ++copies[0][row[reflect(x, x_.size)]];
  }
  for (int32_t b = 0; b < kBins; ++b) counts[b] = copies[0][b] + copies[1][b] + copies[2][b] + copies[3][b];
}

void Equalizer::map_tile(int32_t* counts, uint16_t* map) const {
  spread_rest(counts, clip_, clip_and_raise(counts, clip_));
  const double scale = map_scale(y_.tile * x_.tile);
  int32_t cumulative = 0;
  for (int32_t b = 0; b < kBins; ++b) {
    cumulative += counts[b];
    map[b] = static_cast<uint16_t>(map_level(cumulative, scale));
  }
}

void Equalizer::pair_maps() {
  uint32_t* pair = pairs_.data();
  for (int32_t tile_y = 0; tile_y < y_.count; ++tile_y) {
    const uint16_t* row = &maps_[static_cast<std::size_t>(tile_y) * x_.count * kBins];
    for (int32_t block = 0; block <= x_.count; ++block, pair += kBins) {
      const uint16_t* before = row + static_cast<std::size_t>(max_of(block - 1, int32_t{0})) * kBins;
      const uint16_t* after = row + static_cast<std::size_t>(min_of(block, x_.count - 1)) * kBins;
      for (int32_t b = 0; b < kBins; ++b) pair[b] = before[b] | static_cast<uint32_t>(after[b]) << 16;
    }
  }
}

Extremes Equalizer::blend(int16_t* levels) {
  const BlendRow row = {upper_.data(),      lower_.data(),     x_before_.data(), x_after_.data(),
                        x_before_d_.data(), x_after_d_.data(), x_.size};
  const std::size_t pair_row = static_cast<std::size_t>(x_.count + 1) * kBins;
  const int32_t tile_pixels = y_.tile * x_.tile;
  const int32_t shift = log2_floor(tile_pixels);
  Extremes extremes = {kMaxLevel, 0};
  for (int32_t y = 0; y < y_.size; ++y, levels += x_.size) {
    const TilePosition position = tile_position(y, y_);
    const uint8_t* bins = &bins_[static_cast<std::size_t>(y) * x_.size];
    look_up_row(bins, &pairs_[position.before * pair_row], block_start_.data(), x_.count + 1, upper_.data());
    look_up_row(bins, &pairs_[position.after * pair_row], block_start_.data(), x_.count + 1, lower_.data());
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
