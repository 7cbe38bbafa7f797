// AnatPaste in one launch: draw, centre, patch mean, blurred figure, blend, and the copy of all the rest.
//
// A block takes one image, or a slice of a large one. Slices share out rows by their distance from the
// centre, eight at a time, so that every pixel is copied and pasted on by one block; each of them repeats the
// draw and the lung count.
#pragma once

#include "../common/blend.h"
#include "../common/draw.h"
#include "device.h"
#include "figure_tile.cuh"
#include "lung_rank.cuh"
#include "patch_sum.cuh"
#include "pixel_run.cuh"
#include "random_source.h"

namespace anatpaste {

constexpr int kPasteThreads = kRunThreads;
static_assert(kPasteThreads == kRankWarps * kWarpSize, "one block width for runs and ranks");

template <typename T>
struct PasteArguments {
  const T* image;             // (B,C,H,W)
  const uint8_t* lung_mask;   // (B,1,H,W), not 0 is lung
  const int32_t* given_ints;  // (B,9) parameters to replay, or null
  const float* given_reals;   // (B,4)
  T* out;                     // (B,C,H,W)
  int32_t* ints;              // (B,9) parameters used
  float* reals;               // (B,4)
  float* figure;              // (B,1,H,W), or null
  uint8_t* workspace;         // (B, slices, table_bytes), or null where the tables fit into shared memory
  RandomSource random;
  AnatPasteSettings settings;
  int32_t height, width, channels;
  int32_t edges, chords;  // capacity of the figure's tables
};

// Bytes of the tables of one block.
inline int64_t paste_table_bytes(int32_t height, int32_t width) {
  const int64_t entries = int64_t{max_edges(height, width)} + max_chords(height);
  return ceil_div<int64_t>(entries * 4, 16) * 16;
}

// What every thread of a block works on; built anew in registers by each.
template <typename T>
struct PasteJob {
  const T* image;
  const uint8_t* lung;  // null: all of the image is lung
  T* out;
  float* figure;
  int32_t height, width, channels;
  bool image_background;
  int32_t slice, slices;

  __device__ __forceinline__ int64_t pixels() const { return int64_t{height} * width; }
};

template <typename T>
__device__ __forceinline__ PasteJob<T> job_of(const PasteArguments<T>& a) {
  const int64_t image = blockIdx.x;
  const int64_t pixels = int64_t{a.height} * a.width;
  PasteJob<T> job;
  job.image = a.image + image * a.channels * pixels;
  job.lung = a.lung_mask + image * pixels;
  job.out = a.out + image * a.channels * pixels;
  job.figure = a.figure == nullptr ? nullptr : a.figure + image * pixels;
  job.height = a.height;
  job.width = a.width;
  job.channels = a.channels;
  job.image_background = a.settings.image_background;
  job.slice = blockIdx.y;
  job.slices = gridDim.y;
  return job;
}

// The parameters, but for a drawn centre. By one thread.
template <typename T>
__device__ __forceinline__ PasteParams start_params(const PasteArguments<T>& a, uint32_t* centre_word) {
  const int64_t image = blockIdx.x;
  if (a.given_ints != nullptr) {
    return PasteParams::load(a.given_ints, a.given_reals, image);
  }
  return draw_paste(a.settings, a.height, a.width, a.random.seed_value(), a.random.index[image],
                    a.random.step_value(), centre_word);
}

// Completes the parameters in shared memory and hands them out; returns whether the image has any lung.
// Starts and ends with what all threads see alike.
template <typename T>
__device__ __forceinline__ bool settle_params(const PasteArguments<T>& a, const PasteJob<T>& job,
                                              int32_t* counts, PasteParams* shared, uint32_t* centre_word) {
  if (thread_rank() == 0) *shared = start_params(a, centre_word);
  const int32_t pixels = static_cast<int32_t>(job.pixels());
  const int32_t lung_count = count_set(job.lung, pixels, counts);
  const bool has_lung = lung_count > 0;
  if (a.given_ints == nullptr) {
    const int32_t rank = centre_rank(*centre_word, has_lung ? lung_count : pixels);
    RankRange range = {0, 0, 0};
    if (has_lung) range = narrow_to_rank(job.lung, pixels, rank, counts);
    if (warp_id() == 0) {
      const int32_t found = has_lung ? find_in_warp(job.lung, range) : (lane_id() == 0 ? rank : -1);
      if (found >= 0) {
        shared->centre_y = found / job.width;
        shared->centre_x = found % job.width;
      }
      sync_warp();
    }
  }
  if (thread_rank() == 0) {
    *shared = sanitised(*shared, job.height, job.width);
    const int64_t image = blockIdx.x;
    if (job.slice == 0) shared->store(a.ints, a.reals, image);
  }
  sync_block();
  return has_lung;
}

// ---- the copy ----

template <typename T>
__device__ __forceinline__ void copy_rows(const PasteJob<T>& job, int32_t begin, int32_t end) {
  begin = max_of(begin, 0);
  end = min_of(end, job.height);
  if (begin >= end) return;
  const int32_t first = begin * job.width, count = (end - begin) * job.width;
  for (int32_t channel = 0; channel < job.channels; ++channel) {
    const int64_t at = channel * job.pixels() + first;
    copy_run(job.image + at, job.out + at, count);
  }
  if (job.figure != nullptr) fill_zero(job.figure + first, count);
}

// Copies this block's rows. A barrier must follow before any of them is pasted on.
template <typename T>
__device__ __forceinline__ void copy_slice(const PasteJob<T>& job, int32_t centre_y) {
  if (job.slices == 1) return copy_rows(job, 0, job.height);
  const int32_t reach = max_of(centre_y, job.height - 1 - centre_y) + 1;
  for (int32_t near = job.slice * kTileRows; near < reach; near += job.slices * kTileRows) {
    copy_rows(job, centre_y + near, centre_y + near + kTileRows);
    copy_rows(job, centre_y - near - kTileRows + 1, centre_y - near + (near > 0 ? 1 : 0));
  }
}

// ---- the patch ----

// What is pasted at each pixel of the image.
struct Patch {
  int32_t shift_y, shift_x;  // from a pixel of the image to the patch's source
  int32_t top, left, cut_h, cut_w;
  Jitter jitter;
};

__device__ __forceinline__ Patch patch_of(const PasteParams& p, float mean) {
  return {p.top - p.centre_y + p.cut_h / 2,
          p.left - p.centre_x + p.cut_w / 2,
          p.top,
          p.left,
          p.cut_h,
          p.cut_w,
          make_jitter(p.brightness, p.contrast, mean)};
}

template <typename T>
__device__ __forceinline__ void blend_pixel(const PasteJob<T>& job, const Patch& patch, int32_t y, int32_t x,
                                            float mask) {
  const int32_t source_y = y + patch.shift_y, source_x = x + patch.shift_x;
  // As unsigned numbers, so that what lies before the patch is beyond it as well.
  const bool in_patch = static_cast<uint32_t>(source_y - patch.top) < static_cast<uint32_t>(patch.cut_h) &&
                        static_cast<uint32_t>(source_x - patch.left) < static_cast<uint32_t>(patch.cut_w);
  if (!in_patch && job.image_background) return;
  const int32_t at = y * job.width + x, source = source_y * job.width + source_x;  // within 2^30
  for (int32_t channel = 0; channel < job.channels; ++channel) {
    const T* plane = job.image + channel * job.pixels();
    const float paste = in_patch ? jittered<T>(patch.jitter, to_float(plane[source])) : 0.0f;
    job.out[channel * job.pixels() + at] = blended(plane[at], paste, mask);
  }
}

// ---- the tiles ----

// A tile's pixel (dy, dx) from the centre stands for up to four of the image: mirror's bit 0 turns it upside
// down, bit 1 left to right.
struct Place {
  int32_t y, x;
  bool inside;
};

template <typename T>
__device__ __forceinline__ Place mirrored(const PasteJob<T>& job, const PasteParams& p, int32_t dy,
                                          int32_t dx, int mirror) {
  const bool up = (mirror & 1) != 0, to_left = (mirror & 2) != 0;
  const int32_t y = up ? p.centre_y - dy : p.centre_y + dy;
  const int32_t x = to_left ? p.centre_x - dx : p.centre_x + dx;
  // The axes are their own mirror images and count once.
  const bool once = !(up && dy == 0) && !(to_left && dx == 0);
  return {y, x, once && y >= 0 && y < job.height && x >= 0 && x < job.width};
}

// Where this lane's pixels of a tile lie in lung: four bits a pixel, one a mirror image.
template <typename T>
__device__ __forceinline__ uint64_t lung_bits(const PasteJob<T>& job, const PasteParams& p,
                                              const FigureExtent& extent, int32_t top, int32_t left) {
  uint64_t bits = 0;
#pragma unroll 2
  for (int row = 0; row < kTileRows; ++row) {
#pragma unroll
    for (int span = 0; span < kTileSpans; ++span) {
      const int32_t dy = top + row, dx = left + span * kWarpSize + lane_id();
      if (dy >= extent.rows || dx >= extent.columns) continue;
#pragma unroll
      for (int mirror = 0; mirror < 4; ++mirror) {
        const Place place = mirrored(job, p, dy, dx, mirror);
        const bool lung =
            place.inside && (job.lung == nullptr || job.lung[place.y * job.width + place.x] != 0);
        bits |= uint64_t{lung} << (4 * (row * kTileSpans + span) + mirror);
      }
    }
  }
  return bits;
}

// Pastes one tile. Consumes bits and sums: each row is taken from their front and the others move up, so that
// one piece of code serves all rows while the sums stay in registers.
template <typename T>
__device__ __forceinline__ void paste_tile(const PasteJob<T>& job, const PasteParams& p,
                                           const FigureExtent& extent, const Patch& patch, int32_t top,
                                           int32_t left, uint64_t bits, TileSums& sums) {
  const int32_t last = min_of(top + kTileRows, extent.rows);
#pragma unroll 1
  for (int32_t dy = top; dy < last; ++dy) {
#pragma unroll
    for (int span = 0; span < kTileSpans; ++span) {
      const int32_t dx = left + span * kWarpSize + lane_id();
      const float mask = p.value * sums[0][span];
      const uint32_t lung = static_cast<uint32_t>(bits >> (4 * span)) & 15u;
      const bool wanted = job.figure != nullptr && dx < extent.columns;
      if (lung == 0 && !wanted) continue;
#pragma unroll 1
      for (int mirror = 0; mirror < 4; ++mirror) {
        const Place place = mirrored(job, p, dy, dx, mirror);
        if (wanted && place.inside) job.figure[place.y * job.width + place.x] = mask;
        if ((lung >> mirror & 1u) != 0) blend_pixel(job, patch, place.y, place.x, mask);
      }
    }
    bits >>= 4 * kTileSpans;
#pragma unroll
    for (int row = 1; row < kTileRows; ++row) {
#pragma unroll
      for (int span = 0; span < kTileSpans; ++span) sums[row - 1][span] = sums[row][span];
    }
  }
}

// Computes and pastes this block's tiles, a warp each. weights: shared, kTileWeights a warp.
template <typename T>
__device__ __forceinline__ void paste_tiles(const PasteJob<T>& job, const PasteParams& p, const Patch& patch,
                                            const Figure& figure, float* weights) {
  const FigureExtent& extent = figure.extent;
  const int32_t across = ceil_div(extent.columns, kTileColumns);
  const int32_t tiles_down = ceil_div(extent.rows, kTileRows);
  // Near rows first: they have most chords to sum.
  const int32_t mine = max_of(0, ceil_div(tiles_down - job.slice, job.slices)) * across;
  for (int32_t tile = warp_id(); tile < mine; tile += kRankWarps) {
    const int32_t top = (job.slice + tile / across * job.slices) * kTileRows;
    const int32_t left = tile % across * kTileColumns;
    const uint64_t bits = lung_bits(job, p, extent, top, left);
    if (job.figure == nullptr && !any(kFullMask, bits != 0)) continue;
    TileSums sums;
    compute_tile(figure, top, left, weights + warp_id() * kTileWeights, sums);
    paste_tile(job, p, extent, patch, top, left, bits, sums);
  }
}

// Grid (B, slices), kPasteThreads threads. kTablesShared: the figure's tables are in dynamic shared memory
// rather than in the workspace.
template <typename T, bool kTablesShared>
__global__ void __launch_bounds__(kPasteThreads) anat_paste_kernel(PasteArguments<T> a) {
  ANATPASTE_SHARED(int32_t, counts, kRankWarps);
  ANATPASTE_SHARED(uint64_t, partial, kRankWarps);
  ANATPASTE_SHARED(PasteParams, params, 1);
  ANATPASTE_SHARED(uint32_t, centre_word, 1);
  ANATPASTE_SHARED(Patch, patch, 1);
  ANATPASTE_SHARED(float, weights, kRankWarps* kTileWeights);
  PasteJob<T> job = job_of(a);
  if (!settle_params(a, job, counts, params, centre_word)) job.lung = nullptr;
  // Parameters and patch stay in shared memory: the tiles need the registers.
  const PasteParams& p = params[0];
  FigureTables tables;
  if constexpr (kTablesShared) {
    tables.edges = dynamic_shared<float>(0, a.edges);
    tables.chords = dynamic_shared<int32_t>(a.edges * sizeof(float), a.chords);
  } else {
    const int64_t block = int64_t{blockIdx.x} * gridDim.y + blockIdx.y;
    tables.edges = reinterpret_cast<float*>(a.workspace) + block * (int64_t{a.edges} + a.chords);
    tables.chords = reinterpret_cast<int32_t*>(tables.edges + a.edges);
  }
  const FigureExtent extent = extent_of(p, job.height, job.width);
  copy_slice(job, p.centre_y);
  fill_tables(p, extent, tables);
  uint64_t sums[3];
  sum_patch(job.image, job.channels, job.pixels(), job.width, {p.top, p.left, p.cut_h, p.cut_w}, partial,
            sums);
  // By one thread, as doubles are slow where there are few units for them.
  if (thread_rank() == 0) {
    patch[0] = patch_of(p, mean_grey<T>(sums, job.channels, int64_t{p.cut_h} * p.cut_w));
  }
  sync_block();  // closes the copy and the tables as well
  const Figure figure = {tables.edges + extent.below, tables.chords, p.kind, p.half_h, p.half_w, extent};
  paste_tiles(job, p, patch[0], figure, weights);
}

}  // namespace anatpaste
