#include "cpu/equalize.h"

#include <algorithm>

#include "common/grey.h"

namespace anatpaste {
namespace cpu {
namespace {

// out[x] = quad of the block that column x lies in, at the pixel's byte. One flat loop: short ones mispredict
// their ends.
void look_up_row(const uint8_t* bytes, const uint64_t* quads, const int32_t* column_quads, int32_t width,
                 uint64_t* out) {
  for (int32_t x = 0; x < width; ++x) out[x] = quads[column_quads[x] + bytes[x]];
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
  const Extremes range = k_.extremes8(image, pixels());
  const auto depth_of = [](int32_t byte) { return depth16(static_cast<uint8_t>(byte)); };
  const int32_t low = depth_of(range.low), high = depth_of(range.high);
  first_byte_ = range.low;
  last_byte_ = range.high;
  for (int32_t p = first_byte_; p <= last_byte_; ++p) {
    bin_of_[p] = static_cast<uint8_t>(level_bin(level_of(depth_of(p), low, high)));
  }
  bytes_ = image;
  return equalize(levels);
}

Extremes Equalizer::run(const uint16_t* image, int16_t* levels) {
  const Extremes range = k_.extremes16(image, pixels());
  bins_.resize(static_cast<std::size_t>(pixels()));
  k_.bins_of(image, pixels(), range.low, range.high, bins_.data());
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
  HistogramCopies copies = {};
  const int32_t x_begin = tile_x * x_.tile, x_end = x_begin + x_.tile;
  const int32_t x_inside = min_of(x_end, x_.size);
  for (int32_t y = tile_y * y_.tile; y < (tile_y + 1) * y_.tile; ++y) {
    const uint8_t* row = bytes_ + static_cast<std::size_t>(reflect(y, y_.size)) * x_.size;
    count_bytes(row + x_begin, x_inside - x_begin, copies);
    for (int32_t x = x_inside; x < x_end; ++x) ++copies[0][row[reflect(x, x_.size)]];
  }
  uint32_t of_byte[256];
  k_.sum_histogram(copies, of_byte);
  std::fill(counts, counts + kBins, 0);
  for (int32_t p = first_byte_; p <= last_byte_; ++p) counts[bin_of_[p]] += static_cast<int32_t>(of_byte[p]);
}

void Equalizer::map_tile(int32_t* counts, uint16_t* map) const {
  k_.redistribute(counts, clip_);
  uint16_t of_bin[kBins];
  k_.map_levels(counts, map_scale(y_.tile * x_.tile), of_bin);
  for (int32_t p = first_byte_; p <= last_byte_; ++p) map[p] = of_bin[bin_of_[p]];
}

void Equalizer::place_quads(int32_t tile_row_before, int32_t tile_row_after) {
  const uint16_t* upper = &maps_[static_cast<std::size_t>(tile_row_before) * x_.count * 256];
  const uint16_t* lower = &maps_[static_cast<std::size_t>(tile_row_after) * x_.count * 256];
  for (int32_t block = 0; block <= x_.count; ++block) {
    const int32_t before = max_of(block - 1, int32_t{0}) * 256, after = min_of(block, x_.count - 1) * 256;
    k_.interleave(upper + before, upper + after, lower + before, lower + after, &quads_[block * 256]);
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
