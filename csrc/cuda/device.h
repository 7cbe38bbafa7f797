// The whole vocabulary of device code, for nvcc, NVRTC and the SIMT executor (g++). The kernels' and
// launchers' only `#ifdef __CUDACC__` is the one at the end of this file.
//
// A kernel reads like CUDA C++ (__global__, __device__, __launch_bounds__, threadIdx, blockIdx, blockDim,
// gridDim, dim3, uint4, float4 ...) and takes everything else from namespace anatpaste:
//
// clang-format off
//   shared memory   ANATPASTE_SHARED(type, name, N);               static array, 16-byte aligned
//                   T* p = dynamic_shared<T>(byte_offset, count);  typed window into the dynamic shared memory;
//                                                                  the executor refuses one that ends beyond it
//   barriers        sync_block() sync_block_or(p) sync_block_and(p) sync_block_count(p) sync_warp(mask = kFullMask)
//   threads         thread_rank() lane_id() warp_id() lanes_below() kWarpSize kFullMask
//   warp            shfl(mask, v, lane) shfl_up(mask, v, delta) shfl_down(mask, v, delta) shfl_xor(mask, v, lanes)
//                   ballot(mask, p) any(mask, p) all(mask, p) match_any(mask, v)
//                   reduce_add, reduce_min, reduce_max, reduce_or, reduce_and (mask, v)   int or unsigned
//   atomics         atomic_add, _min, _max, _or, _and, _exch (p, v)   atomic_cas(p, expected, desired)
//                   return the old value; 32- and 64-bit integers, shared or global, relaxed order. No floating
//                   point: its sum would depend on the order of arrival.
//   intended races  relaxed_load(p) relaxed_store(p, v)            1, 2, 4 or 8 bytes
//                   BOTH sides of an intended race must be marked (relaxed or atomic): the race build reports
//                   a plain access that races with a marked one. NVIDIA's racecheck takes a relaxed_store that
//                   races for a hazard, but no atomic: kernels of the package store by those.
//   fences          fence_block() fence_device()
//   bits            popc ffs (1-based, 0 for none) clz brev (unsigned, 32 or 64 bits)
//                   funnel_left(low, high, n) funnel_right(low, high, n) mulhi(a, b) bit_cast<T>(value)
//   wide access     load16(const T*) -> uint4   store16(T*, uint4)   16-byte aligned (the executor checks)
//   checking        ANATPASTE_DEVICE_ASSERT(condition)             by the executor; nothing on a GPU
//
// Host side (not under NVRTC):
//   launch(name, kernel, grid, block, shared_bytes, stream, args...)  throws DeviceError, which names the kernel
//   memset_async(name, pointer, byte, bytes, stream)
//   max_shared_bytes()       static + dynamic shared memory that a block may ask for on the current device
//   multiprocessor_count()
//   Stream                   cudaStream_t on a GPU
// clang-format on
// Launchers get pointers, outputs, the device guard and the current stream from launcher.h.
//
// Not in the subset: cooperative groups, CUB, inline PTX, mutable globals, activemask, function-static
// variables. A lane that has returned may not be named by a later mask or barrier of its block. No value may
// depend on FMA contraction.
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
