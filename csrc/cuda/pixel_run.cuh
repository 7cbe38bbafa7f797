// Runs of consecutive pixels, 16 bytes at a time where their address allows: copy, fill, sum.
#pragma once

#include "../common/pixel.h"
#include "device.h"

namespace anatpaste {

// Who shares the work of a run: thread number `rank` of `count`.
struct Worker {
  int32_t rank, count;
};

__device__ __forceinline__ Worker block_worker() { return {thread_rank(), static_cast<int32_t>(blockDim.x)}; }

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
  int64_t head, wide;
};

template <typename T>
__device__ __forceinline__ RunParts split_run(const T* pointer, int64_t count) {
  const int64_t head = min_of<int64_t>((16u - misalignment(pointer)) % 16u / sizeof(T), count);
  return {head, (count - head) / kPixelsPer16<T>};
}

template <typename T>
__device__ __forceinline__ void copy_run(const Worker& worker, const T* in, T* out, int64_t count) {
  // Both ends of a copy must reach a 16-byte boundary at the same pixel; otherwise it goes pixel by pixel.
  const bool same = misalignment(in) == misalignment(out);
  const RunParts parts = same ? split_run(in, count) : RunParts{count, 0};
  const int64_t tail = parts.head + parts.wide * kPixelsPer16<T>;
  for (int64_t i = worker.rank; i < parts.head; i += worker.count) out[i] = in[i];
#pragma unroll 4
  for (int64_t i = worker.rank; i < parts.wide; i += worker.count) {
    const int64_t first = parts.head + i * kPixelsPer16<T>;
    store16(out + first, load16(in + first));
  }
  for (int64_t i = tail + worker.rank; i < count; i += worker.count) out[i] = in[i];
}

__device__ __forceinline__ void fill_zero(const Worker& worker, float* out, int64_t count) {
  const RunParts parts = split_run(out, count);
  const int64_t tail = parts.head + parts.wide * 4;
  for (int64_t i = worker.rank; i < parts.head; i += worker.count) out[i] = 0.0f;
  for (int64_t i = worker.rank; i < parts.wide; i += worker.count) {
    store16(out + parts.head + i * 4, uint4{0, 0, 0, 0});
  }
  for (int64_t i = tail + worker.rank; i < count; i += worker.count) out[i] = 0.0f;
}

// This worker's part of the run's fixed-point sum.
template <typename T>
__device__ __forceinline__ uint64_t sum_of_run(const Worker& worker, const T* in, int64_t count) {
  const RunParts parts = split_run(in, count);
  const int64_t tail = parts.head + parts.wide * kPixelsPer16<T>;
  uint64_t sum = 0;
  for (int64_t i = worker.rank; i < parts.head; i += worker.count) sum += to_fixed(in[i]);
#pragma unroll 4
  for (int64_t i = worker.rank; i < parts.wide; i += worker.count) {
    const auto group = bit_cast<Pixels16<T>>(load16(in + parts.head + i * kPixelsPer16<T>));
    uint32_t part = 0;  // up to 16 pixels of at most 2^20 each
#pragma unroll
    for (int k = 0; k < kPixelsPer16<T>; ++k) part += to_fixed(group.pixel[k]);
    sum += part;
  }
  for (int64_t i = tail + worker.rank; i < count; i += worker.count) sum += to_fixed(in[i]);
  return sum;
}

__device__ __forceinline__ uint64_t warp_sum(uint64_t value) {
#pragma unroll
  for (int lanes = kWarpSize / 2; lanes > 0; lanes /= 2) value += shfl_xor(kFullMask, value, lanes);
  return value;
}

// The sum over the block, for every thread. `partial` is shared memory, one word a warp; every thread takes
// part.
__device__ __forceinline__ uint64_t block_sum(uint64_t value, uint64_t* partial) {
  value = warp_sum(value);
  if (lane_id() == 0) partial[warp_id()] = value;
  sync_block();
  const int32_t warps = static_cast<int32_t>(blockDim.x) / kWarpSize;
  const uint64_t total = warp_sum(lane_id() < warps ? partial[lane_id()] : 0);
  sync_block();  // `partial` may be used again
  return total;
}

}  // namespace anatpaste
