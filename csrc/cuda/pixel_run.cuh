// Runs of at most 2^30 consecutive pixels, worked on by the whole block, 16 bytes at a time where their
// address allows: copy, fill, sum.
#pragma once

#include "../common/pixel.h"
#include "device.h"

namespace anatpaste {

// Threads of every block that works on runs: known when compiling, so that loops unroll without a division.
constexpr int kRunThreads = 1024;
constexpr int kRunWarps = kRunThreads / kWarpSize;
static_assert(kRunWarps == kWarpSize, "block_sum reads one partial sum a lane");

template <typename T>
constexpr int32_t kPixelsPer16 = 16 / static_cast<int32_t>(sizeof(T));

// Sixteen bytes of pixels.
template <typename T>
struct Pixels16 {
  T pixel[kPixelsPer16<T>];
};

__device__ __forceinline__ uint32_t misalignment(const void* pointer) {
  return static_cast<uint32_t>(reinterpret_cast<size_t>(pointer) & 15u);
}

// A run in three parts: `head` single pixels up to a 16-byte boundary, `wide` groups of 16 bytes, single
// pixels again.
struct RunParts {
  int32_t head, wide;
};

template <typename T>
__device__ __forceinline__ RunParts split_run(const T* pointer, int32_t count) {
  const int32_t head = min_of(static_cast<int32_t>((16u - misalignment(pointer)) % 16u / sizeof(T)), count);
  return {head, (count - head) / kPixelsPer16<T>};
}

template <typename T>
__device__ __forceinline__ void copy_run(const T* __restrict__ in, T* __restrict__ out, int32_t count) {
  // Both ends of a copy must reach a 16-byte boundary at the same pixel; otherwise it goes pixel by pixel.
  const bool same = misalignment(in) == misalignment(out);
  const RunParts parts = same ? split_run(in, count) : RunParts{count, 0};
  const int32_t tail = parts.head + parts.wide * kPixelsPer16<T>;
  for (int32_t i = thread_rank(); i < parts.head; i += kRunThreads) out[i] = in[i];
#pragma unroll 4
  for (int32_t i = thread_rank(); i < parts.wide; i += kRunThreads) {
    const int32_t first = parts.head + i * kPixelsPer16<T>;
    store16(out + first, load16(in + first));
  }
  for (int32_t i = tail + thread_rank(); i < count; i += kRunThreads) out[i] = in[i];
}

template <typename T>
__device__ __forceinline__ void fill_zero(T* out, int32_t count) {
  const RunParts parts = split_run(out, count);
  const int32_t tail = parts.head + parts.wide * kPixelsPer16<T>;
  for (int32_t i = thread_rank(); i < parts.head; i += kRunThreads) out[i] = T{0};
  for (int32_t i = thread_rank(); i < parts.wide; i += kRunThreads) {
    store16(out + parts.head + i * kPixelsPer16<T>, uint4{0, 0, 0, 0});
  }
  for (int32_t i = tail + thread_rank(); i < count; i += kRunThreads) out[i] = T{0};
}

// This thread's part of the run's fixed-point sum.
template <typename T>
__device__ __forceinline__ uint64_t sum_of_run(const T* in, int32_t count) {
  const RunParts parts = split_run(in, count);
  const int32_t tail = parts.head + parts.wide * kPixelsPer16<T>;
  uint64_t sum = 0;
  for (int32_t i = thread_rank(); i < parts.head; i += kRunThreads) sum += to_fixed(in[i]);
#pragma unroll 4
  for (int32_t i = thread_rank(); i < parts.wide; i += kRunThreads) {
    const auto group = bit_cast<Pixels16<T>>(load16(in + parts.head + i * kPixelsPer16<T>));
    uint32_t part = 0;  // up to 16 pixels of at most 2^20 each
#pragma unroll
    for (int k = 0; k < kPixelsPer16<T>; ++k) part += to_fixed(group.pixel[k]);
    sum += part;
  }
  for (int32_t i = tail + thread_rank(); i < count; i += kRunThreads) sum += to_fixed(in[i]);
  return sum;
}

__device__ __forceinline__ uint64_t warp_sum(uint64_t value) {
#pragma unroll
  for (int lanes = kWarpSize / 2; lanes > 0; lanes /= 2) value += shfl_xor(kFullMask, value, lanes);
  return value;
}

// The sum over the block, for every thread. partial: shared, kRunWarps words.
__device__ __forceinline__ uint64_t block_sum(uint64_t value, uint64_t* partial) {
  value = warp_sum(value);
  if (lane_id() == 0) partial[warp_id()] = value;
  sync_block();
  const uint64_t total = warp_sum(partial[lane_id()]);
  sync_block();  // `partial` may be used again
  return total;
}

}  // namespace anatpaste
