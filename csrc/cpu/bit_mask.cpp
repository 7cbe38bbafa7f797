#include "cpu/bit_mask.h"

#include <algorithm>

namespace anatpaste {
namespace cpu {
namespace {

constexpr int32_t kWordBits = 64;
constexpr uint64_t kAll = ~uint64_t{0};

}  // namespace

BitMask::BitMask(int32_t height, int32_t width)
    : k_(kernels()),
      height_(height),
      width_(width),
      stride_(ceil_div(width, kWordBits) + 1),
      first_(static_cast<std::size_t>(stride_) + 1),
      last_word_(kAll >> ((stride_ - 1) * kWordBits - width)),
      bits_(words() + 2 * first_),
      columns_(bits_.size()) {}

void BitMask::read_bytes(const uint8_t* pixels) {
  for (int32_t y = 0; y < height_; ++y, pixels += width_) k_.pack_bytes(pixels, width_, row(y));
}

void BitMask::write_bytes(uint8_t* pixels) const {
  for (int32_t y = 0; y < height_; ++y, pixels += width_) k_.unpack_bytes(row(y), width_, pixels);
}

void BitMask::read_range(const int16_t* values, int32_t low, int32_t high) {
  for (int32_t y = 0; y < height_; ++y, values += width_) k_.pack_range(values, width_, low, high, row(y));
}

// Everything that is not a pixel.
void BitMask::surround_by_ones() {
  std::fill(bits_.begin(), bits_.begin() + static_cast<std::ptrdiff_t>(first_), kAll);
  std::fill(bits_.end() - static_cast<std::ptrdiff_t>(first_), bits_.end(), kAll);
  for (int32_t y = 0; y < height_; ++y) {
    uint64_t* end = row(y) + stride_;
    end[-1] = kAll;
    end[-2] |= ~last_word_;
  }
}

void BitMask::clear_surroundings() {
  for (int32_t y = 0; y < height_; ++y) {
    uint64_t* end = row(y) + stride_;
    end[-1] = 0;
    end[-2] &= last_word_;
  }
}

void BitMask::erode() {
  surround_by_ones();
  const auto margin = static_cast<std::ptrdiff_t>(first_);
  std::fill(columns_.begin(), columns_.begin() + margin, kAll);
  std::fill(columns_.end() - margin, columns_.end(), kAll);
  k_.erode_columns(row(0), static_cast<int64_t>(words()), &columns_[first_]);
  k_.erode_rows(&columns_[first_], static_cast<int64_t>(words()), stride_, row(0));
  std::fill(bits_.begin(), bits_.begin() + margin, 0);
  std::fill(bits_.end() - margin, bits_.end(), 0);
  clear_surroundings();
}

void BitMask::dilate() {
  const auto margin = static_cast<std::ptrdiff_t>(first_);
  std::fill(columns_.begin(), columns_.begin() + margin, 0);
  std::fill(columns_.end() - margin, columns_.end(), 0);
  k_.dilate_columns(row(0), static_cast<int64_t>(words()), &columns_[first_]);
  k_.dilate_rows(&columns_[first_], static_cast<int64_t>(words()), stride_, row(0));
  clear_surroundings();
}

void BitMask::clear_run(int32_t y, int32_t begin, int32_t end) {
  uint64_t* bits = row(y);
  const int32_t first = begin / kWordBits, last = (end - 1) / kWordBits;
  const uint64_t from = kAll << (begin % kWordBits), to = kAll >> (kWordBits - 1 - (end - 1) % kWordBits);
  if (first == last) {
    bits[first] &= ~(from & to);
    return;
  }
  bits[first] &= ~from;
  std::fill(bits + first + 1, bits + last, 0);
  bits[last] &= ~to;
}

}  // namespace cpu
}  // namespace anatpaste
