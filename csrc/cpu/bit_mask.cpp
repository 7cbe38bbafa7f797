#include "cpu/bit_mask.h"

#include <cstring>
#include <utility>

#include "cpu/simd.h"

namespace anatpaste {
namespace cpu {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "pixel x of a group is byte x of a loaded word");

constexpr int32_t kWordBits = 64;
constexpr uint64_t kAll = ~uint64_t{0};

// Eight bytes of 0 or 1 -> eight bits, byte i to bit i: the product moves each byte's lowest bit to a place
// of its own at the top.
inline uint64_t pack8(const uint8_t* bytes) {
  uint64_t eight;
  std::memcpy(&eight, bytes, sizeof(eight));
  return (eight * 0x0102040810204080u) >> 56;
}

// The way back: bit i to byte i.
inline void unpack8(uint64_t bits, uint8_t* bytes) {
  const uint64_t spread = ((bits * 0x0101010101010101u) & 0x8040201008040201u) + 0x7f7f7f7f7f7f7f7fu;
  const uint64_t eight = (spread >> 7) & 0x0101010101010101u;
  std::memcpy(bytes, &eight, sizeof(eight));
}

ANATPASTE_CLONES void in_range(const int16_t* values, int32_t count, int16_t low, int16_t high,
                               uint8_t* inside) {
  for (int32_t x = 0; x < count; ++x) inside[x] = (values[x] > low) & (values[x] <= high);
}

// Each pixel with its left and right neighbour, `outside` standing for the pixels beyond the ends.
template <bool kErosion>
void combine_columns(uint64_t* row, int32_t words, uint64_t last_word) {
  const uint64_t outside = kErosion ? kAll : 0;
  if (kErosion) row[words - 1] |= ~last_word;
  uint64_t left = outside;
  for (int32_t w = 0; w < words; ++w) {
    const uint64_t here = row[w];
    const uint64_t right = w + 1 < words ? row[w + 1] : outside;
    const uint64_t from_left = here << 1 | left >> (kWordBits - 1);
    const uint64_t from_right = here >> 1 | right << (kWordBits - 1);
    row[w] = kErosion ? here & from_left & from_right : here | from_left | from_right;
    left = here;
  }
  row[words - 1] &= last_word;
}

}  // namespace

BitMask::BitMask(int32_t height, int32_t width)
    : height_(height),
      width_(width),
      words_(ceil_div(width, kWordBits)),
      last_word_(kAll >> (words_ * kWordBits - width)),
      bits_(static_cast<std::size_t>(height) * words_),
      above_(words_),
      here_(words_),
      bytes_(static_cast<std::size_t>(words_) * kWordBits) {}

void BitMask::read_row_bytes(const uint8_t* pixels, uint64_t* row) const {
  for (int32_t w = 0; w < words_; ++w) {
    uint64_t word = 0;
    for (int32_t group = 0; group < 8; ++group)
      word |= pack8(pixels + w * kWordBits + group * 8) << (group * 8);
    row[w] = word;
  }
}

void BitMask::read_bytes(const uint8_t* pixels) {
  for (int32_t y = 0; y < height_; ++y, pixels += width_) {
    std::memcpy(bytes_.data(), pixels, width_);
    read_row_bytes(bytes_.data(), row(y));
  }
}

void BitMask::write_bytes(uint8_t* pixels) const {
  for (int32_t y = 0; y < height_; ++y, pixels += width_) {
    const uint64_t* bits = row(y);
    int32_t x = 0;
    for (; x + 8 <= width_; x += 8) unpack8(bits[x / kWordBits] >> (x % kWordBits) & 0xff, pixels + x);
    for (; x < width_; ++x) pixels[x] = bits[x / kWordBits] >> (x % kWordBits) & 1;
  }
}

void BitMask::read_range(const int16_t* values, int32_t low, int32_t high) {
  for (int32_t y = 0; y < height_; ++y, values += width_) {
    in_range(values, width_, static_cast<int16_t>(low), static_cast<int16_t>(high), bytes_.data());
    read_row_bytes(bytes_.data(), row(y));
  }
}

void BitMask::combine_rows(bool erosion) {
  const uint64_t outside = erosion ? kAll : 0;
  above_.assign(words_, outside);
  for (int32_t y = 0; y < height_; ++y) {
    uint64_t* bits = row(y);
    here_.assign(bits, bits + words_);
    for (int32_t w = 0; w < words_; ++w) {
      const uint64_t below = y + 1 < height_ ? bits[words_ + w] : outside;
      bits[w] = erosion ? above_[w] & here_[w] & below : above_[w] | here_[w] | below;
    }
    std::swap(above_, here_);
  }
}

void BitMask::erode() {
  for (int32_t y = 0; y < height_; ++y) combine_columns<true>(row(y), words_, last_word_);
  combine_rows(true);
}

void BitMask::dilate() {
  for (int32_t y = 0; y < height_; ++y) combine_columns<false>(row(y), words_, last_word_);
  combine_rows(false);
}

void BitMask::clear_run(int32_t y, int32_t begin, int32_t end) {
  uint64_t* bits = row(y);
  const int32_t first = begin / kWordBits, last = (end - 1) / kWordBits;
  for (int32_t w = first; w <= last; ++w) {
    uint64_t cleared = kAll;
    if (w == first) cleared &= kAll << (begin % kWordBits);
    if (w == last) cleared &= kAll >> (kWordBits - 1 - (end - 1) % kWordBits);
    bits[w] &= ~cleared;
  }
}

}  // namespace cpu
}  // namespace anatpaste
