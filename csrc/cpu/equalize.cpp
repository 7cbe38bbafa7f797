#include "cpu/equalize.h"

#include <algorithm>
#include <cstring>

#include "common/grey.h"

namespace anatpaste {
namespace cpu {
namespace {

// out[x] = quads[bytes[x]], eight at a time: the bytes then cost one load, and two quads one store.
void look_up(const uint8_t* bytes, const uint64_t* quads, int64_t count, uint64_t* out) {
  constexpr int64_t kAtOnce = 8;
  typedef uint64_t Pair __attribute__((vector_size(2 * sizeof(uint64_t))));
  for (; count >= kAtOnce; count -= kAtOnce, bytes += kAtOnce, out += kAtOnce) {
    uint64_t eight;
    std::memcpy(&eight, bytes, sizeof(eight));
    for (int64_t i = 0; i < kAtOnce; i += 2) {
      const Pair pair = {quads[(eight >> (8 * i)) & 0xff], quads[(eight >> (8 * i + 8)) & 0xff]};
      std::memcpy(out + i, &pair, sizeof pair);
    }
  }
  for (int64_t i = 0; i < count; ++i) out[i] = quads[bytes[i]];
}

}  // namespace

void count_bytes(const uint8_t* bytes, int64_t count, HistogramCopies& copies) {
  int64_t i = 0;
  for (; i + kCopies <= count; i += kCopies) {
    for (int32_t copy = 0; copy < kCopies; ++copy) ++copies[copy][bytes[i + copy]];
  }
  for (; i < count; ++i) ++copies[0][bytes[i]];
}

Equalizer::Equalizer(int32_t height, int32_t width, double clip_limit)
    : k_(kernels()),
      y_(tile_axis(height)),
      x_(tile_axis(width)),
      clip_(clip_count(clip_limit, y_.tile * x_.tile)),
      form_(choose_blend(y_.tile, x_.tile)),
      bins_(static_cast<std::size_t>(pixels())),
      maps_(static_cast<std::size_t>(y_.count) * x_.count * kBins),
      quads_(static_cast<std::size_t>(x_.count + 1) * kBins),
      x_before_(width),
      x_after_(width),
      x_quads_(width),
      x_before_d_(width),
      x_after_d_(width),
      row_(width) {
  for (int32_t x = 0; x < width; ++x) {
    const int32_t offset = tile_position(x, x_).offset;
    const AxisFractions fractions = axis_fractions(offset, x_.tile);
    x_before_[x] = x_.tile - offset;
    x_after_[x] = offset;
    x_quads_[x] =
        (static_cast<uint64_t>(offset & 0xffff) << 16 | ((x_.tile - offset) & 0xffff)) * 0x100000001u;
    x_before_d_[x] = fractions.before;
    x_after_d_[x] = fractions.after;
  }
}

Extremes Equalizer::run(const uint8_t* image, int16_t* levels) {
  const Extremes range = k_.extremes8(image, pixels());
  if (range.low == range.high) {
    const int32_t depth = depth16(image[0]);
    std::fill(bins_.begin(), bins_.end(), static_cast<uint8_t>(level_bin(level_of(depth, depth, depth))));
  } else {
    k_.bins_of_bytes(image, pixels(), range.low, range.high, bins_.data());
  }
  return equalize(levels);
}

Extremes Equalizer::run(const uint16_t* image, int16_t* levels) {
  const Extremes range = k_.extremes16(image, pixels());
  k_.bins_of(image, pixels(), range.low, range.high, bins_.data());
  return equalize(levels);
}

Extremes Equalizer::equalize(int16_t* levels) {
  const double scale = map_scale(y_.tile * x_.tile);
  uint16_t* map = maps_.data();
  for (int32_t tile_y = 0; tile_y < y_.count; ++tile_y) {
    for (int32_t tile_x = 0; tile_x < x_.count; ++tile_x, map += kBins) {
      int32_t counts[kBins];
      count_tile(tile_y, tile_x, counts);
      k_.redistribute(counts, clip_);
      k_.map_levels(counts, scale, map);
    }
  }
  return blend(levels);
}

void Equalizer::count_tile(int32_t tile_y, int32_t tile_x, int32_t* counts) {
  const int32_t x_begin = tile_x * x_.tile, x_end = x_begin + x_.tile;
  const int32_t x_inside = min_of(x_end, x_.size);
  for (int32_t y = tile_y * y_.tile; y < (tile_y + 1) * y_.tile; ++y) {
    const uint8_t* row = &bins_[static_cast<std::size_t>(reflect(y, y_.size)) * x_.size];
    count_bytes(row + x_begin, x_inside - x_begin, copies_);
    for (int32_t x = x_inside; x < x_end; ++x) ++copies_[0][row[reflect(x, x_.size)]];
  }
  k_.drain(copies_, counts);
}

void Equalizer::place_quads(int32_t tile_row_before, int32_t tile_row_after) {
  const uint16_t* upper = &maps_[static_cast<std::size_t>(tile_row_before) * x_.count * kBins];
  const uint16_t* lower = &maps_[static_cast<std::size_t>(tile_row_after) * x_.count * kBins];
  for (int32_t block = 0; block <= x_.count; ++block) {
    const int32_t before = max_of(block - 1, int32_t{0}) * kBins, after = min_of(block, x_.count - 1) * kBins;
    k_.interleave(upper + before, upper + after, lower + before, lower + after, &quads_[block * kBins]);
  }
}

// Block by block: the first one is the part of a tile before its centre.
void Equalizer::look_up_row(const uint8_t* bins) {
  const uint64_t* quads = quads_.data();
  int32_t begin = 0;
  for (int32_t end = x_.tile - x_.tile / 2; begin < x_.size; end += x_.tile, quads += kBins) {
    const int32_t inside = min_of(end, x_.size);
    look_up(bins + begin, quads, inside - begin, &row_[begin]);
    begin = inside;
  }
}

Extremes Equalizer::blend(int16_t* levels) {
  const BlendRow row = {row_.data(),        x_quads_.data(),   x_before_.data(), x_after_.data(),
                        x_before_d_.data(), x_after_d_.data(), x_.size};
  const int32_t tile_pixels = y_.tile * x_.tile;
  const int32_t shift = log2_floor(tile_pixels);
  Extremes extremes = {kMaxLevel, 0};
  for (int32_t y = 0; y < y_.size; ++y, levels += x_.size) {
    const TilePosition position = tile_position(y, y_);
    if (y == 0 || position.offset == 0) place_quads(position.before, position.after);
    look_up_row(&bins_[static_cast<std::size_t>(y) * x_.size]);
    const AxisWeights weights = {y_.tile - position.offset, position.offset};
    if (form_ == Blend::kShift) {
      k_.blend_row_shift(row, weights, shift, levels, &extremes);
    } else if (form_ == Blend::kScaled) {
      k_.blend_row_scaled(row, weights, 1.0f / static_cast<float>(tile_pixels), levels, &extremes);
    } else if (form_ == Blend::kDivide) {
      k_.blend_row_divide(row, weights, static_cast<float>(tile_pixels), levels, &extremes);
    } else {
      k_.blend_row_double(row, axis_fractions(position.offset, y_.tile), levels, &extremes);
    }
  }
  return extremes;
}

}  // namespace cpu
}  // namespace anatpaste
