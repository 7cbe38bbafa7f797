// Contrast-limited adaptive histogram equalisation as scikit-image's equalize_adapthist(nbins=256) computes
// it. Small pieces for one thread: loops over pixels, bins and tiles are the caller's.
#pragma once

#include "exact.h"
#include "portable.h"

namespace anatpaste {

constexpr int32_t kMaxLevel = 16383;  // grey levels 0..16383
constexpr int32_t kBinWidth = 65;     // 1 + 16384 / 256 levels a bin ...
constexpr int32_t kUsedBins = 253;    // ... so that only these bins are ever hit,
constexpr int32_t kBins = 256;        // while the clipped counts are spread over these.
constexpr int32_t kTilesPerSide = 8;

// One axis of the image, cut into tiles. The last tile may hang over the
// border: there the image is reflected.
struct TileAxis {
  int32_t size;   // pixels
  int32_t tile;   // pixels a tile
  int32_t count;  // tiles
};

ANATPASTE_HD TileAxis tile_axis(int32_t size) {
  const int32_t tile = max_of(size / kTilesPerSide, int32_t{1});
  return {size, tile, ceil_div(size, tile)};
}

// Pixel of the image shown at `position` >= 0, the border pixel not repeated.
ANATPASTE_HD int32_t reflect(int32_t position, int32_t size) {
  return position < size ? position : 2 * (size - 1) - position;
}

// A pixel lies between the centres of two tiles, `offset` pixels after the first one's; beyond the outermost
// centres both are the same tile.
struct TilePosition {
  int32_t before;
  int32_t after;
  int32_t offset;  // 0 .. tile - 1
};

ANATPASTE_HD TilePosition tile_position(int32_t pixel, const TileAxis& axis) {
  const int32_t shifted = pixel + axis.tile / 2;
  const int32_t block = shifted / axis.tile;
  return {max_of(block - 1, int32_t{0}), min_of(block, axis.count - 1), shifted - block * axis.tile};
}

// 16-bit pixel -> level, given the image's extremes. A constant image is cut off, not stretched.
ANATPASTE_HD int32_t level_of(int32_t pixel, int32_t low, int32_t high) {
  if (low == high) return min_of(pixel, kMaxLevel);
  const double unit = div_rn(static_cast<double>(pixel - low), static_cast<double>(high - low));
  return round_half_even(mul_rn(unit, static_cast<double>(kMaxLevel)));
}

ANATPASTE_HD int32_t level_bin(int32_t level) { return level / kBinWidth; }

// level_bin(level_of(257 * (low + above), 257 * low, 257 * high)), the bin of a byte `above` the image's
// lowest, for 0 <= above <= high - low > 0, by one product. Factor and offset are tilted a little so that
// ties, which level_of rounds to even, fall as they do there; a test goes through all there are.
ANATPASTE_HD float byte_bin_factor(int32_t low, int32_t high) {
  const double levels = static_cast<double>(kMaxLevel) / kBinWidth * (1.0 + 1.2e-7);
  return static_cast<float>(div_rn(levels, static_cast<double>(high - low)));
}

ANATPASTE_HD int32_t byte_bin(int32_t above, float factor) {
  constexpr float kHalfLevel = 0.5f / kBinWidth - 1.75e-5f;
  return static_cast<int32_t>(add_rn(mul_rn(static_cast<float>(above), factor), kHalfLevel));
}

// Largest count of a bin before its excess is spread over the others.
ANATPASTE_HD int32_t clip_count(double clip_limit, int32_t tile_pixels) {
  return static_cast<int32_t>(max_of(mul_rn(clip_limit, static_cast<double>(tile_pixels)), 1.0));
}

// Redistribution, step 1 of 3. A bin keeps min(count, clip); the rest of all bins is summed up as the excess.
ANATPASTE_HD int32_t over_clip(int32_t count, int32_t clip) { return max_of(count - clip, int32_t{0}); }

// Step 2: every bin gets `share` = excess / 256. scikit-image tests the raised count once
// more, so a bin that comes within a share of the limit, or past it, ends up at the limit. The
// excess shrinks by what the bin grew.
ANATPASTE_HD int32_t raise_bin(int32_t count, int32_t clip, int32_t share) {
  const int32_t upper = clip - share;
  const int32_t raised = count < upper ? count + share : count;
  return raised >= upper && raised < clip ? clip : raised;
}

// Step 3, repeated for first = 0, 1, ... while excess is left: one is added to each bin first, first + step,
// ... that is still under the limit. `under` counts such bins before the pass. This may overshoot: the excess
// may end below 0.
ANATPASTE_HD int32_t spread_step(int32_t under, int32_t excess) { return max_of(under / excess, int32_t{1}); }

// Levels a pixel of a tile: the factor from a cumulative count to an output level.
ANATPASTE_HD double map_scale(int32_t tile_pixels) {
  return div_rn(static_cast<double>(kMaxLevel), static_cast<double>(tile_pixels));
}

ANATPASTE_HD int32_t map_level(int32_t cumulative, double scale) {
  const double level = mul_rn(static_cast<double>(cumulative), scale);
  return static_cast<int32_t>(min_of(level, static_cast<double>(kMaxLevel)));
}

}  // namespace anatpaste
