// CutPaste in one launch: draw, patch mean, jitter, turn, paste, and the copy of all the rest.
//
// A block takes one image, or a slice of a large one: consecutive rows, which it copies and then pastes on.
// Blocks whose rows the patch does not reach are done when they have copied; the others repeat draw and mean.
#pragma once

#include "../common/blend.h"
#include "../common/draw_cut_paste.h"
#include "device.h"
#include "patch_sum.cuh"
#include "pixel_run.cuh"
#include "random_source.h"

namespace anatpaste {

constexpr int kCutPasteThreads = kRunThreads;

template <typename T>
struct CutPasteArguments {
  const T* image;             // (B,C,H,W)
  const int32_t* given_ints;  // (B,9) parameters to replay, or null
  const float* given_reals;   // (B,2)
  T* out;                     // (B,C,H,W)
  int32_t* ints;              // (B,9) parameters used
  float* reals;               // (B,2)
  uint8_t* mask;              // (B,1,H,W), or null
  RandomSource random;
  CutPasteSettings settings;
  int32_t height, width, channels;
};

// What every thread of a block works on; built anew in registers by each.
template <typename T>
struct CutPasteJob {
  const T* image;
  T* out;
  uint8_t* mask;
  int32_t height, width, channels;
  int32_t begin, end;  // rows of this block

  __device__ __forceinline__ int64_t pixels() const { return int64_t{height} * width; }
};

template <typename T>
__device__ __forceinline__ CutPasteJob<T> cut_paste_job(const CutPasteArguments<T>& a) {
  const int64_t image = blockIdx.x;
  CutPasteJob<T> job;
  job.height = a.height;
  job.width = a.width;
  job.channels = a.channels;
  job.image = a.image + image * a.channels * job.pixels();
  job.out = a.out + image * a.channels * job.pixels();
  job.mask = a.mask == nullptr ? nullptr : a.mask + image * job.pixels();
  const int32_t rows = ceil_div(job.height, static_cast<int32_t>(gridDim.y));
  job.begin = min_of(static_cast<int32_t>(blockIdx.y) * rows, job.height);
  job.end = min_of(job.begin + rows, job.height);
  return job;
}

// The parameters; by one thread.
template <typename T>
__device__ __forceinline__ CutPasteParams settle_params(const CutPasteArguments<T>& a) {
  const int64_t image = blockIdx.x;
  CutPasteParams p = a.given_ints != nullptr
                         ? CutPasteParams::load(a.given_ints, a.given_reals, image)
                         : draw_cut_paste(a.settings, a.height, a.width, a.random.seed_value(),
                                          a.random.index[image], a.random.step_value());
  p = sanitised(p, a.height, a.width);
  if (blockIdx.y == 0) p.store(a.ints, a.reals, image);
  return p;
}

template <typename T>
__device__ __forceinline__ void copy_rows(const CutPasteJob<T>& job) {
  const int32_t first = job.begin * job.width, count = (job.end - job.begin) * job.width;
  for (int32_t channel = 0; channel < job.channels; ++channel) {
    const int64_t at = channel * job.pixels() + first;
    copy_run(job.image + at, job.out + at, count);
  }
  if (job.mask != nullptr) fill_zero(job.mask + first, count);
}

// Pastes on rows first .. last - 1 of the box, by whole warps a row.
template <typename T>
__device__ __forceinline__ void paste_rows(const CutPasteJob<T>& job, const CutPasteParams& p,
                                           const TurnedRectangle& turned, const Jitter& jitter, int32_t first,
                                           int32_t last) {
  const int32_t columns = min_of(turned.box_width, job.width - p.paste_left);
  for (int32_t y = first + warp_id(); y < last; y += kRunWarps) {
    for (int32_t x = lane_id(); x < columns; x += kWarpSize) {
      const int64_t source_y = turned.source_y(y, x), source_x = turned.source_x(y, x);
      // As unsigned numbers, so that what lies before the patch is beyond it as well.
      if (static_cast<uint64_t>(source_y) >= static_cast<uint64_t>(turned.height) ||
          static_cast<uint64_t>(source_x) >= static_cast<uint64_t>(turned.width)) {
        continue;
      }
      const int64_t from = (p.top + source_y) * job.width + p.left + source_x;
      const int32_t to = (p.paste_top + y) * job.width + p.paste_left + x;  // within 2^30
      for (int32_t channel = 0; channel < job.channels; ++channel) {
        const T pixel = job.image[channel * job.pixels() + from];
        job.out[channel * job.pixels() + to] = from_float<T>(jittered<T>(jitter, to_float(pixel)));
      }
      if (job.mask != nullptr) job.mask[to] = 1;
    }
  }
}

// Grid (B, slices), kCutPasteThreads threads.
template <typename T>
__global__ void __launch_bounds__(kCutPasteThreads) cut_paste_kernel(CutPasteArguments<T> a) {
  ANATPASTE_SHARED(uint64_t, partial, kRunWarps);
  ANATPASTE_SHARED(CutPasteParams, params, 1);
  ANATPASTE_SHARED(TurnedRectangle, turned, 1);
  ANATPASTE_SHARED(Jitter, jitter, 1);
  const CutPasteJob<T> job = cut_paste_job(a);
  if (thread_rank() == 0) {
    params[0] = settle_params(a);
    turned[0] = turned_patch(params[0]);
  }
  copy_rows(job);
  sync_block();  // closes the parameters and the copy
  const CutPasteParams& p = params[0];
  const int32_t first = max_of(job.begin - p.paste_top, 0);
  const int32_t last = min_of(job.end - p.paste_top, turned[0].box_height);
  if (first >= last) return;  // for all threads alike
  uint64_t sums[3];
  sum_patch(job.image, job.channels, job.pixels(), job.width, {p.top, p.left, p.cut_h, p.cut_w}, partial,
            sums);
  // By one thread, as doubles are slow where there are few units for them.
  if (thread_rank() == 0) {
    const float mean = mean_grey<T>(sums, job.channels, int64_t{p.cut_h} * p.cut_w);
    jitter[0] = make_jitter(p.brightness, p.contrast, mean);
  }
  sync_block();
  paste_rows(job, p, turned[0], jitter[0], first, last);
}

}  // namespace anatpaste
