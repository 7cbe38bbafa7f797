// Masks from any source through 3 x 3 morphology to any sink in one launch. A block makes a band of rows; it
// computes the rows and words around it that it needs itself, in shared memory.
//
// A source gives words:  void begin(int64_t image)               the whole block calls it first
//                        uint32_t word(image, y, word)           the whole warp calls it; bits beyond the
//                        width are 0
// A sink takes them:     void store(image, first_y, first_word, BandWords)   the whole block calls it
#pragma once

#include "packed_mask.cuh"

namespace anatpaste {

enum class Morphology { kNone, kOpening, kDilation };

constexpr int kBandThreads = 256;
constexpr int kBandWarps = kBandThreads / kWarpSize;
constexpr int32_t kBandRows = 32;  // even: a row of 2 x 2 blocks lies in one band
constexpr int32_t kBandWords = 32;
constexpr int32_t kHalo = 2;  // rows that an opening looks beyond the band
constexpr int32_t kBandStride = kBandWords + 2;

struct BandShape {
  MaskShape mask;
  int32_t rows, columns;  // of bands in an image
};

inline BandShape band_shape(const MaskShape& mask) {
  return {mask, ceil_div(mask.height, kBandRows), ceil_div(mask.words, kBandWords)};
}

// Words of a band and around it in shared memory, addressed relative to the band's first.
struct BandWords {
  uint32_t* words;
  int32_t count;  // words in the width of the band
  __device__ __forceinline__ uint32_t& at(int32_t row, int32_t word) const {
    return words[(row + kHalo) * kBandStride + word + 1];
  }
};

// Calls visit(row, word) for rows -halo .. kBandRows + halo - 1 and words -1 .. count, a warp at a time.
template <typename Visit>
__device__ __forceinline__ void for_each_word_by_warp(const BandWords& band, int32_t halo,
                                                      const Visit& visit) {
  const int32_t width = band.count + 2;
  for (int32_t i = warp_id(); i < (kBandRows + 2 * halo) * width; i += kBandWarps) {
    visit(i / width - halo, i % width - 1);
  }
}
template <typename Visit>
__device__ __forceinline__ void for_each_word(const BandWords& band, int32_t halo, const Visit& visit) {
  const int32_t width = band.count + 2;
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < (kBandRows + 2 * halo) * width; i += kBandThreads) {
    visit(i / width - halo, i % width - 1);
  }
}

__device__ __forceinline__ bool has_word(const MaskShape& shape, int32_t y, int32_t word) {
  return y >= 0 && y < shape.height && word >= 0 && word < shape.words;
}

// Outside the image: ones for an erosion to come, else zeros.
template <bool ones_outside, typename Source>
__device__ __forceinline__ void load_band(Source& source, const MaskShape& shape, int64_t image, int32_t halo,
                                          int32_t first_y, int32_t first_word, const BandWords& to) {
  for_each_word_by_warp(to, halo, [&](int32_t row, int32_t word) {
    const int32_t y = first_y + row, at_word = first_word + word;
    uint32_t bits = ones_outside ? kFullMask : 0u;
    if (has_word(shape, y, at_word)) {
      bits = source.word(image, y, at_word) | (ones_outside ? ~inside_bits(shape, at_word) : 0u);
    }
    if (lane_id() == 0) to.at(row, word) = bits;
  });
  sync_block();
}

// The word left of the band's halo, and the one right of it, would only change bits that nothing reads.
__device__ __forceinline__ auto neighbours_in(const BandWords& band, int32_t row, int32_t word) {
  return
      [=](int32_t dy, int32_t dx) { return band.at(row + dy, clamp_to(word + dx, int32_t{-1}, band.count)); };
}

__device__ __forceinline__ void erode_band(const BandWords& from, const BandWords& to, const MaskShape& shape,
                                           int32_t first_y, int32_t first_word) {
  for_each_word(from, 1, [&](int32_t row, int32_t word) {
    const int32_t y = first_y + row, at_word = first_word + word;
    to.at(row, word) = has_word(shape, y, at_word)
                           ? erode_word(neighbours_in(from, row, word)) & inside_bits(shape, at_word)
                           : 0u;
  });
  sync_block();
}

__device__ __forceinline__ void dilate_band(const BandWords& from, const BandWords& to,
                                            const MaskShape& shape, int32_t first_y, int32_t first_word) {
  for_each_word(from, 0, [&](int32_t row, int32_t word) {
    const int32_t y = first_y + row, at_word = first_word + word;
    if (has_word(shape, y, at_word)) {
      to.at(row, word) = dilate_word(neighbours_in(from, row, word)) & inside_bits(shape, at_word);
    } else {
      to.at(row, word) = 0u;
    }
  });
  sync_block();
}

template <Morphology morphology, typename Source, typename Sink>
__global__ void __launch_bounds__(kBandThreads) mask_band_kernel(Source source, Sink sink, BandShape shape) {
  constexpr int32_t kWords = (kBandRows + 2 * kHalo) * kBandStride;
  ANATPASTE_SHARED(uint32_t, first_words, kWords);
  ANATPASTE_SHARED(uint32_t, other_words, kWords);
  const int32_t bands = shape.rows * shape.columns;
  const int32_t image = static_cast<int32_t>(blockIdx.x) / bands;
  const int32_t band = static_cast<int32_t>(blockIdx.x) - image * bands;
  const int32_t first_y = band / shape.columns * kBandRows, first_word = band % shape.columns * kBandWords;
  const int32_t count = min_of(shape.mask.words - first_word, kBandWords);
  const BandWords loaded = {first_words, count}, changed = {other_words, count};
  source.begin(image);
  if (morphology == Morphology::kOpening) {
    load_band<true>(source, shape.mask, image, 2, first_y, first_word, loaded);
    erode_band(loaded, changed, shape.mask, first_y, first_word);
    dilate_band(changed, loaded, shape.mask, first_y, first_word);
    sink.store(image, first_y, first_word, loaded);
  } else if (morphology == Morphology::kDilation) {
    load_band<false>(source, shape.mask, image, 1, first_y, first_word, loaded);
    dilate_band(loaded, changed, shape.mask, first_y, first_word);
    sink.store(image, first_y, first_word, changed);
  } else {
    load_band<false>(source, shape.mask, image, 0, first_y, first_word, loaded);
    sink.store(image, first_y, first_word, loaded);
  }
}

// ---- sources and sinks of bytes ----

struct ByteSource {
  const uint8_t* __restrict__ masks;  // (B, H, W), 0 or 1
  MaskShape shape;

  __device__ __forceinline__ void begin(int64_t) {}
  __device__ __forceinline__ uint32_t word(int64_t image, int32_t y, int32_t word) const {
    const int32_t x = word * kWarpSize + lane_id();
    const int64_t row = image * shape.height + y;
    return ballot(kFullMask, x < shape.width && masks[row * shape.width + min_of(x, shape.width - 1)] != 0);
  }
};

struct ByteSink {
  uint8_t* __restrict__ masks;  // (B, H, W), 0 or 1
  MaskShape shape;

  __device__ __forceinline__ void store(int64_t image, int32_t first_y, int32_t first_word,
                                        const BandWords& band) const {
    for (int32_t i = warp_id(); i < kBandRows * band.count; i += kBandWarps) {
      const int32_t row = i / band.count, word = i - row * band.count;
      const int32_t y = first_y + row, x = (first_word + word) * kWarpSize + lane_id();
      if (y >= shape.height || x >= shape.width) continue;
      masks[(image * shape.height + y) * shape.width + x] =
          static_cast<uint8_t>(band.at(row, word) >> lane_id() & 1u);
    }
  }
};

}  // namespace anatpaste
