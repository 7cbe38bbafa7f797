// Brightness and contrast of whole images: clip(b * (c * x + (1 - c) * mean)), the mean an integer sum.
//
// Where an image has a block to itself, one launch sums it and applies the jitter, reading it again while it
// is in cache. Where blocks share an image, one launch sums into global memory and a second applies.
#pragma once

#include "../common/blend.h"
#include "../common/draw.h"
#include "device.h"
#include "pixel_run.cuh"
#include "random_source.h"

namespace anatpaste {

constexpr int kJitterThreads = kRunThreads;

template <typename T>
struct JitterArguments {
  const T* image;  // (B,C,H,W)
  T* out;          // (B,C,H,W)
  uint64_t* sums;  // (B,3), zeroed, fixed point; unused where an image has one block
  RandomSource random;
  ImageJitterSettings settings;
  int32_t pixels;  // H * W
  int32_t channels;
};

// The part of a plane that this block works on: [begin, begin + count).
struct PlanePart {
  int32_t begin, count;
};

__device__ __forceinline__ PlanePart plane_part(int32_t pixels) {
  // Whole groups of 64 pixels, so that a part starts on a 16-byte boundary if the plane does.
  const int32_t each = ceil_div(ceil_div(pixels, static_cast<int32_t>(gridDim.y)), 64) * 64;
  const int32_t begin = static_cast<int32_t>(min_of(int64_t{each} * blockIdx.y, int64_t{pixels}));
  return {begin, min_of(each, pixels - begin)};
}

template <typename T>
__device__ __forceinline__ int64_t plane_start(const JitterArguments<T>& a, int32_t channel) {
  return (int64_t{blockIdx.x} * a.channels + channel) * a.pixels;
}

template <typename T>
__device__ __forceinline__ Jitter jitter_of(const JitterArguments<T>& a, const uint64_t* sums) {
  const JitterFactors drawn =
      draw_image_jitter(a.settings, a.random.seed_value(), a.random.index[blockIdx.x], a.random.step_value());
  return make_jitter(drawn.brightness, drawn.contrast, mean_grey<T>(sums, a.channels, a.pixels));
}

// The same for every thread, worked out by one, as doubles are slow where there are few units for them.
template <typename T>
__device__ __forceinline__ Jitter block_jitter(const JitterArguments<T>& a, const uint64_t* sums) {
  ANATPASTE_SHARED(Jitter, jitter, 1);
  if (thread_rank() == 0) jitter[0] = jitter_of(a, sums);
  sync_block();
  return jitter[0];
}

template <typename T>
__device__ __forceinline__ T jittered_pixel(const Jitter& jitter, T pixel) {
  return from_float<T>(jittered<T>(jitter, to_float(pixel)));
}

template <typename T>
__device__ __forceinline__ void jitter_run(const Jitter& jitter, const T* __restrict__ in,
                                           T* __restrict__ out, int32_t count) {
  const bool same = misalignment(in) == misalignment(out);
  const RunParts parts = same ? split_run(in, count) : RunParts{count, 0};
  const int32_t tail = parts.head + parts.wide * kPixelsPer16<T>;
  for (int32_t i = thread_rank(); i < parts.head; i += kRunThreads) out[i] = jittered_pixel(jitter, in[i]);
  // Pointers to 16 bytes each: of a store16 to a T* nvcc makes one narrow store a pixel.
  const auto* wide_in = reinterpret_cast<const uint4*>(in + parts.head);
  auto* wide_out = reinterpret_cast<uint4*>(out + parts.head);
  for (int32_t i = thread_rank(); i < parts.wide; i += kRunThreads) {
    auto group = bit_cast<Pixels16<T>>(load16(wide_in + i));
#pragma unroll
    for (int k = 0; k < kPixelsPer16<T>; ++k) group.pixel[k] = jittered_pixel(jitter, group.pixel[k]);
    store16(wide_out + i, bit_cast<uint4>(group));
  }
  for (int32_t i = tail + thread_rank(); i < count; i += kRunThreads) out[i] = jittered_pixel(jitter, in[i]);
}

template <typename T>
__device__ __forceinline__ void jitter_part(const JitterArguments<T>& a, const Jitter& jitter) {
  const PlanePart part = plane_part(a.pixels);
  for (int32_t channel = 0; channel < a.channels; ++channel) {
    const int64_t at = plane_start(a, channel) + part.begin;
    jitter_run(jitter, a.image + at, a.out + at, part.count);
  }
}

// The block's part of one plane's fixed-point sum, for every thread.
template <typename T>
__device__ __forceinline__ uint64_t sum_part(const JitterArguments<T>& a, int32_t channel,
                                             uint64_t* partial) {
  const PlanePart part = plane_part(a.pixels);
  const T* pixel = a.image + plane_start(a, channel) + part.begin;
  return block_sum(sum_of_run(pixel, part.count), partial);
}

// Grid (B), kJitterThreads threads.
template <typename T>
__global__ void __launch_bounds__(kJitterThreads) image_jitter_kernel(JitterArguments<T> a) {
  ANATPASTE_SHARED(uint64_t, partial, kJitterThreads / kWarpSize);
  uint64_t sums[3] = {0, 0, 0};
#pragma unroll
  for (int32_t channel = 0; channel < 3; ++channel) {
    if (channel < a.channels) sums[channel] = sum_part(a, channel, partial);
  }
  jitter_part(a, block_jitter(a, sums));
}

// Grid (B, slices), kJitterThreads threads.
template <typename T>
__global__ void __launch_bounds__(kJitterThreads) image_jitter_sum_kernel(JitterArguments<T> a) {
  ANATPASTE_SHARED(uint64_t, partial, kJitterThreads / kWarpSize);
  for (int32_t channel = 0; channel < a.channels; ++channel) {
    const uint64_t sum = sum_part(a, channel, partial);
    if (thread_rank() == 0) atomic_add(&a.sums[int64_t{blockIdx.x} * 3 + channel], sum);
  }
}

// Grid (B, slices), kJitterThreads threads.
template <typename T>
__global__ void __launch_bounds__(kJitterThreads) image_jitter_apply_kernel(JitterArguments<T> a) {
  const uint64_t* at = a.sums + int64_t{blockIdx.x} * 3;
  const uint64_t sums[3] = {at[0], at[1], at[2]};
  jitter_part(a, block_jitter(a, sums));
}

}  // namespace anatpaste
