// Small kernels, each with a planted bug (kBroken) and its correct twin. They prove that each of the
// executor's detectors detects, and that it stays silent where nothing is wrong.
#pragma once

#include "../../cuda/device.h"

namespace anatpaste {
namespace planted {

constexpr int kThreads = 96;  // three warps
constexpr int kBins = 16;

/// out[b] = sum of row b. Broken: no barrier between filling shared memory and reading it.
template <bool kBroken>
__global__ void __launch_bounds__(kThreads) block_sum_kernel(const int* in, int* out) {
  ANATPASTE_SHARED(int, cells, kThreads);
  const int t = static_cast<int>(threadIdx.x);
  cells[t] = in[blockIdx.x * kThreads + t];
  if (!kBroken) sync_block();
  if (t == 0) {
    int sum = 0;
    for (int i = 0; i < kThreads; ++i) sum += cells[i];
    out[blockIdx.x] = sum;
  }
}

/// out[b] = histogram of row b. Broken: a plain increment where an atomic is needed.
template <bool kBroken>
__global__ void __launch_bounds__(kThreads) histogram_kernel(const int* in, int* out) {
  ANATPASTE_SHARED(int, bins, kBins);
  const int t = static_cast<int>(threadIdx.x);
  if (t < kBins) bins[t] = 0;
  sync_block();
  const int bin = in[blockIdx.x * kThreads + t] & (kBins - 1);
  if (kBroken) {
    bins[bin] += 1;
  } else {
    atomic_add(&bins[bin], 1);
  }
  sync_block();
  if (t < kBins) out[blockIdx.x * kBins + t] = bins[t];
}

/// Row b reversed over its first n entries, zeros after. Broken: threads beyond n return before the barrier.
template <bool kBroken>
__global__ void __launch_bounds__(kThreads) reverse_kernel(const int* in, int* out, int n) {
  ANATPASTE_SHARED(int, cells, kThreads);
  const int t = static_cast<int>(threadIdx.x);
  const int row = static_cast<int>(blockIdx.x) * kThreads;
  if (t >= n) out[row + t] = 0;
  if (kBroken && t >= n) return;
  if (t < n) cells[t] = in[row + t];
  sync_block();
  if (t < n) out[row + t] = cells[n - 1 - t];
}

/// out[b, t] = in[b, t + 1], 0 at the end, through shared memory. Broken: reads one beyond the array.
template <bool kBroken>
__global__ void __launch_bounds__(kThreads) shift_shared_kernel(const int* in, int* out) {
  ANATPASTE_SHARED(int, cells, kThreads);
  const int t = static_cast<int>(threadIdx.x);
  const int row = static_cast<int>(blockIdx.x) * kThreads;
  cells[t] = in[row + t];
  sync_block();
  out[row + t] = kBroken || t + 1 < kThreads ? cells[t + 1] : 0;
}

/// The same through dynamic shared memory and by writing: cells[t + 1] = in[b, t]. Broken: the last write is
/// beyond.
template <bool kBroken>
__global__ void __launch_bounds__(kThreads) shift_dynamic_kernel(const int* in, int* out) {
  int* cells = dynamic_shared<int>(0, kThreads);
  const int t = static_cast<int>(threadIdx.x);
  const int row = static_cast<int>(blockIdx.x) * kThreads;
  if (t == 0) cells[0] = 0;
  if (kBroken || t + 1 < kThreads) cells[t + 1] = in[row + t];
  sync_block();
  out[row + t] = cells[t];
}

/// out[i] = in[i] + in[i + 1] over all rows. Broken: the last thread reads beyond the tensor.
template <bool kBroken>
__global__ void __launch_bounds__(kThreads) shift_global_kernel(const int* in, int* out, int total) {
  const int i = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  out[i] = in[i] + (kBroken || i + 1 < total ? in[i + 1] : 0);
}

/// The neighbour's value twice: each thread takes its right neighbour's cell and puts it into its own, two
/// times over. Broken: no barrier between reading the neighbour and overwriting one's own cell (write after
/// read).
template <bool kBroken>
__global__ void __launch_bounds__(kThreads) exchange_kernel(const int* in, int* out) {
  ANATPASTE_SHARED(int, cells, kThreads);
  const int t = static_cast<int>(threadIdx.x);
  const int row = static_cast<int>(blockIdx.x) * kThreads;
  cells[t] = in[row + t];
  sync_block();
  for (int round = 0; round < 2; ++round) {
    const int neighbour = cells[(t + 1) % kThreads];
    if (!kBroken) sync_block();
    cells[t] = neighbour;
    sync_block();
  }
  out[row + t] = cells[t];
}

/// As exchange_kernel within warps, by sync_warp. Broken: no sync_warp between the write and the read.
template <bool kBroken>
__global__ void __launch_bounds__(kThreads) warp_exchange_kernel(const int* in, int* out) {
  ANATPASTE_SHARED(int, cells, kThreads);
  const int t = static_cast<int>(threadIdx.x);
  const int row = static_cast<int>(blockIdx.x) * kThreads;
  cells[t] = in[row + t];
  if (!kBroken) sync_warp();
  out[row + t] = cells[t ^ 1];
}

/// Inclusive prefix sums of each warp's 32 entries. Broken: the shuffle stands under a condition, with a full
/// mask.
template <bool kBroken>
__global__ void __launch_bounds__(kThreads) prefix_kernel(const int* in, int* out) {
  const int i = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  int sum = in[i];
  for (int step = 1; step < kWarpSize; step *= 2) {
    if (kBroken) {
      if (lane_id() >= step) sum += shfl_up(kFullMask, sum, step);
    } else {
      const int below = shfl_up(kFullMask, sum, step);
      if (lane_id() >= step) sum += below;
    }
  }
  out[i] = sum;
}

/// Sums of each half warp. Broken: the upper half uses the lower half's mask.
template <bool kBroken>
__global__ void __launch_bounds__(kThreads) half_sum_kernel(const int* in, int* out) {
  const int i = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  const unsigned upper = kBroken ? 0x0000ffffu : 0xffff0000u;
  out[i] = reduce_add(lane_id() < 16 ? 0x0000ffffu : upper, in[i]);
}

/// out = in + 1 with a barrier on the way. Broken: the two halves of the block wait at different barriers.
template <bool kBroken>
__global__ void __launch_bounds__(kThreads) divergent_kernel(const int* in, int* out) {
  const int t = static_cast<int>(threadIdx.x);
  const int i = static_cast<int>(blockIdx.x) * kThreads + t;
  if (kBroken && t < kThreads / 2) {
    sync_block();
    out[i] = in[i] + 1;
  } else {
    sync_block();
    out[i] = in[i] + 1;
  }
}

/// out[0] = sum of all rows. Broken: blocks add with a plain read and write.
template <bool kBroken>
__global__ void __launch_bounds__(kThreads) grid_sum_kernel(const int* in, int* out) {
  const int i = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  const int sum = reduce_add(kFullMask, in[i]);
  if (lane_id() != 0) return;
  if (kBroken) {
    out[0] += sum;
  } else {
    atomic_add(&out[0], sum);
  }
}

/// out[b] = max of row b, each thread storing only if it is larger than what it sees. Broken: the look is a
/// plain load beside the others' atomics; the twin marks the intended race.
template <bool kBroken>
__global__ void __launch_bounds__(kThreads) peek_max_kernel(const int* in, int* out) {
  ANATPASTE_SHARED(int, best, 1);
  const int value = in[blockIdx.x * kThreads + threadIdx.x];
  if (threadIdx.x == 0) best[0] = -1;
  sync_block();
  const int seen = kBroken ? best[0] : relaxed_load(&best[0]);
  if (value > seen) atomic_max(&best[0], value);
  sync_block();
  if (threadIdx.x == 0) out[blockIdx.x] = best[0];
}

/// out = in, four at a time. Broken: from an address that is not a multiple of 16.
template <bool kBroken>
__global__ void __launch_bounds__(kThreads) copy16_kernel(const int* in, int* out) {
  const int i = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (i % 4 == 0) store16(out + i, load16(in + i + (kBroken ? 1 : 0)));
}

/// out = in through a window of dynamic shared memory. Broken: the window is longer than what the launch
/// asked for.
template <bool kBroken>
__global__ void __launch_bounds__(kThreads) window_kernel(const int* in, int* out) {
  int* cells = dynamic_shared<int>(0, kBroken ? kThreads + 1 : kThreads);
  const int i = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  cells[threadIdx.x] = in[i];
  out[i] = cells[threadIdx.x];
}

/// Row b with its neighbours' bytes put together: cells[t] is one byte a thread, out[b, t] the word that
/// holds it. Neighbouring bytes are no race. Broken: no barrier before the words are read.
template <bool kBroken>
__global__ void __launch_bounds__(kThreads) bytes_kernel(const int* in, int* out) {
  ANATPASTE_SHARED(unsigned char, cells, kThreads);
  const int t = static_cast<int>(threadIdx.x);
  const int i = static_cast<int>(blockIdx.x) * kThreads + t;
  cells[t] = static_cast<unsigned char>(in[i]);
  if (!kBroken) sync_block();
  out[i] = reinterpret_cast<const int*>(cells)[t / 4];
}

/// out[b, t] = in[b, 0] for all t, then the cell is reused. Broken: thread 0 overwrites the cell while others
/// may not have read it yet; it has read it itself, last of all or first of all as the schedule will have it.
template <bool kBroken>
__global__ void __launch_bounds__(kThreads) broadcast_kernel(const int* in, int* out) {
  ANATPASTE_SHARED(int, cell, 1);
  const int i = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (threadIdx.x == 0) cell[0] = in[i];
  sync_block();
  const int value = cell[0];
  if (!kBroken) sync_block();
  if (threadIdx.x == 0) cell[0] = -1;
  out[i] = value;
}

/// Each lane takes the value of the lane 8 further in its half warp; each half synchronises by its own mask.
/// Broken: it takes the value of the other half, which that mask does not order.
template <bool kBroken>
__global__ void __launch_bounds__(kThreads) half_exchange_kernel(const int* in, int* out) {
  ANATPASTE_SHARED(int, cells, kThreads);
  const int t = static_cast<int>(threadIdx.x);
  const int row = static_cast<int>(blockIdx.x) * kThreads;
  cells[t] = in[row + t];
  sync_warp(lane_id() < 16 ? 0x0000ffffu : 0xffff0000u);
  out[row + t] = cells[t ^ (kBroken ? 16 : 8)];
}

/// Threads wait for a flag, then copy. Broken: nobody sets the flag.
template <bool kBroken>
__global__ void __launch_bounds__(kThreads) spin_kernel(const int* in, int* out) {
  ANATPASTE_SHARED(int, flag, 1);
  const int i = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (threadIdx.x == 0) flag[0] = 0;
  sync_block();
  if (!kBroken && threadIdx.x == kThreads - 1) relaxed_store(&flag[0], 1);
  while (relaxed_load(&flag[0]) == 0) {
  }
  out[i] = in[i];
}

/// The lane's neighbour's value, through shared memory at a stride of 33 words, so that a warp's words lie in
/// 32 banks. "Broken" costs time only: a stride of 32 puts them all into one.
template <bool kBroken>
__global__ void __launch_bounds__(kThreads) banks_kernel(const int* in, int* out) {
  ANATPASTE_SHARED(int, cells, 33 * kThreads);
  const int stride = kBroken ? 32 : 33;
  const int i = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  int* mine = cells + 33 * kWarpSize * warp_id();
  mine[stride * lane_id()] = in[i];
  sync_warp();
  out[i] = mine[stride * (lane_id() ^ 1)];
}

/// out[i] = in[i], or in "broken" (a cost again) in[8 i mod total]: a sector for each lane in place of four a
/// warp.
template <bool kBroken>
__global__ void __launch_bounds__(kThreads) gather_kernel(const int* in, int* out) {
  const int i = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  const int total = static_cast<int>(gridDim.x) * kThreads;
  out[i] = in[kBroken ? 8 * i % total : i];
}

}  // namespace planted
}  // namespace anatpaste
