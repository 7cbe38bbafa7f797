// Every device-side name of device.h once, so that the static gates compile the whole vocabulary (nvcc,
// NVRTC, g++).
#pragma once

#include "../../cuda/device.h"

namespace anatpaste {

/// Uses every word of the vocabulary; the executor's tests compare `out` with what CUDA's definitions give.
__global__ void __launch_bounds__(64)
    vocabulary_kernel(const unsigned* __restrict__ in, unsigned* __restrict__ out,
                      unsigned long long* __restrict__ wide) {
  ANATPASTE_SHARED(unsigned, cells, 64);
  ANATPASTE_SHARED(int, signed_cells, 4);
  unsigned* dynamic = dynamic_shared<unsigned>(0, blockDim.x);
  const int t = static_cast<int>(threadIdx.x);
  const unsigned v = in[blockIdx.x * blockDim.x + t];
  unsigned* row = out + (blockIdx.x * blockDim.x + t) * 32;
  cells[t] = 0;
  dynamic[t] = v;
  if (t < 4) signed_cells[t] = t == 1 ? 0x7fffffff : -5;
  sync_block();
  row[0] = dynamic[blockDim.x - 1 - t];
  row[1] = sync_block_or(v == 7u) ? 1u : 0u;
  row[2] = sync_block_and(v < 1000u) ? 1u : 0u;
  row[3] = static_cast<unsigned>(sync_block_count((v & 1u) != 0));
  sync_warp();
  const unsigned odd = ballot(kFullMask, (lane_id() & 1) != 0);
  const unsigned half = (lane_id() & 1) != 0 ? odd : ~odd;
  row[4] = odd;
  row[5] = shfl(kFullMask, v, 3);
  row[6] = shfl_up(kFullMask, v, 1);
  row[7] = shfl_down(kFullMask, v, 2);
  row[8] = shfl_xor(kFullMask, v, 5);
  row[9] = (any(half, v == 9u) ? 1u : 0u) | (all(half, v > 2u) ? 2u : 0u);
  row[10] = match_any(kFullMask, v & 3u);
  row[11] = reduce_add(half, v);
  row[12] = reduce_min(half, v);
  row[13] = static_cast<unsigned>(reduce_max(half, static_cast<int>(v) - 50));
  row[14] = reduce_or(half, v);
  row[15] = reduce_and(half, v);
  atomic_add(&cells[0], v);
  atomic_max(&cells[1], v);
  atomic_or(&cells[2], v);
  atomic_cas(&cells[3 + warp_id()], 0u, 77u);
  atomic_min(&signed_cells[1], static_cast<int>(v) - 50);
  if (t == 0) {
    atomic_and(&cells[2], 0xfffffff0u);
    atomic_exch(&cells[6], 5u);
  }
  atomic_add(&wide[0], static_cast<unsigned long long>(v) << 20);
  relaxed_store(&cells[8 + t % 2], 3u);
  fence_block();
  fence_device();
  sync_block();
  row[16] = cells[0];
  row[17] = cells[1];
  row[18] = cells[3] + cells[4];
  row[19] = cells[6] + relaxed_load(&cells[8]);
  row[20] = static_cast<unsigned>(signed_cells[1]);
  row[21] = static_cast<unsigned>(popc(v) + 100 * ffs(v) + 10000 * clz(v));
  row[22] = brev(v);
  row[23] = funnel_left(v, 0x80000001u, 33u);
  row[24] = funnel_right(v, 0x80000001u, 5u);
  row[25] = mulhi(v * 0x01000193u, 0xdeadbeefu);
  const unsigned long long long_v = static_cast<unsigned long long>(v) << 35;
  row[26] = static_cast<unsigned>(popc(long_v) + 100 * ffs(long_v) + 10000 * clz(long_v));
  row[27] = static_cast<unsigned>(brev(long_v));
  row[28] = bit_cast<unsigned>(static_cast<float>(v));
  row[29] = lanes_below() + static_cast<unsigned>(gridDim.x + thread_rank());
  const uint4 four = load16(in);
  row[30] = four.x + four.w;
  row[31] = cells[2];
  ANATPASTE_DEVICE_ASSERT(v < 1000u);
  if (t == 0) store16(out + (blockIdx.x * blockDim.x + t) * 32, make_uint4(row[0], row[1], row[2], row[3]));
}

}  // namespace anatpaste
