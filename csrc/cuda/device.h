// The whole vocabulary of device code, for nvcc, NVRTC and the SIMT executor (g++). The only `#ifdef
// __CUDACC__` of the kernels and launchers is the one at the end of this file.
//
// A kernel reads like CUDA C++ (`__global__`, `__device__`, `__launch_bounds__`, threadIdx, blockIdx,
// blockDim, gridDim, uint4, float4, dim3, warpSize-free code with kWarpSize) and takes everything else from
// namespace anatpaste:
//
//   shared memory   ANATPASTE_SHARED(type, name, N);          static: name is an array of N, 16-byte aligned
//                   T* p = dynamic_shared<T>(byte_offset, count);   a typed window into the launch's dynamic
//                   shared memory;
//                                                             the executor refuses a window that ends beyond
//                                                             it
//   barriers        sync_block()  sync_block_or(p)  sync_block_and(p)  sync_block_count(p)  sync_warp(mask =
//   kFullMask) warp            lane_id()  warp_id()  lanes_below()  kWarpSize  kFullMask
//                   shfl(mask, v, lane)  shfl_up(mask, v, delta)  shfl_down(mask, v, delta)  shfl_xor(mask,
//                   v, lanes) ballot(mask, p)  any(mask, p)  all(mask, p)  match_any(mask, v) reduce_add /
//                   reduce_min / reduce_max / reduce_or / reduce_and (mask, v)    int or unsigned
//   atomics         atomic_add / min / max / or / and / exch (p, v)  atomic_cas(p, expected, desired)  all
//   return the old value;
//                   int, unsigned, and 64-bit integers; shared or global memory; relaxed order. No floating
//                   point: its sum would depend on the order of arrival.
//   intended races  relaxed_load(p)  relaxed_store(p, v)      1, 2, 4 or 8 bytes. BOTH sides of an intended
//   race must be marked
//                   (relaxed or atomic): a plain access that races with a marked one is reported by the race
//                   build.
//   fences          fence_block()  fence_device()
//   bits            popc  ffs (1-based, 0 for none)  clz  brev  (32 and 64 bits)
//                   funnel_left(low, high, n)  funnel_right(low, high, n)  mulhi(a, b)
//   wide access     load16(const T*) -> uint4, store16(T*, uint4)   the address must be 16-byte aligned
//   (checked by the executor)
//                   float4/uint4 and the like by bit_cast<T>(value)
//   checking        ANATPASTE_DEVICE_ASSERT(condition)        checked by the executor, nothing on a GPU
//
// Not in the subset: cooperative groups, CUB, inline PTX, mutable globals, activemask, function-static
// variables, and an exited lane named in any later mask or barrier of its block. Values must not depend on
// FMA contraction.
//
// Host side (not under NVRTC):
//   launch(name, kernel, grid, block, shared_bytes, stream, args...)   throws DeviceError, which names the
//   kernel memset_async(name, pointer, byte, bytes, stream) max_shared_bytes()  opt-in dynamic + static
//   shared memory of a block on the current device multiprocessor_count() Stream              cudaStream_t on
//   a GPU
// Launchers get pointers, outputs, the device guard and the current stream from launcher.h.
#pragma once

#include "../common/portable.h"

namespace anatpaste {
constexpr int kWarpSize = 32;
constexpr unsigned kFullMask = 0xffffffffu;
}  // namespace anatpaste

#ifdef __CUDACC__
#include "device_nvcc.h"
#else
#include "../simt/device_simt.h"
#endif
