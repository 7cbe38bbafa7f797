// device.h under nvcc and NVRTC: every name maps to the intrinsic of the same meaning. Include device.h, not
// this file.
#pragma once

#ifndef __CUDACC_RTC__
#include <cuda_runtime.h>
#endif

#define ANATPASTE_SIMT 0
// Where launchers register their ops (launcher.h).
#define ANATPASTE_LIBRARY anatpaste
#define ANATPASTE_DISPATCH_KEY CUDA

#define ANATPASTE_SHARED(type, name, count) __shared__ __align__(16) type name[count]
#define ANATPASTE_DEVICE_ASSERT(condition) ((void)0)

namespace anatpaste {

namespace detail {

extern __shared__ __align__(16) unsigned char dynamic_shared_bytes[];

// Argument types follow the pointer's, so that atomic_add(unsigned*, 1) compiles.
template <typename T>
struct Same {
  using type = T;
};
template <typename T>
using same_t = typename Same<T>::type;

// The type the hardware's atomics take for T.
template <int bytes, bool is_signed>
struct AtomicWord;
template <>
struct AtomicWord<4, true> {
  using type = int;
};
template <>
struct AtomicWord<4, false> {
  using type = unsigned int;
};
template <>
struct AtomicWord<8, true> {
  using type = long long;
};
template <>
struct AtomicWord<8, false> {
  using type = unsigned long long;
};
template <typename T>
using atomic_word_t = typename AtomicWord<sizeof(T), (T(-1) < T(0))>::type;
// Addition, exchange and compare-and-swap have no signed 64-bit form; two's complement makes the unsigned one
// the same.
template <typename T>
using swap_word_t = typename AtomicWord<sizeof(T), (T(-1) < T(0)) && sizeof(T) == 4>::type;

template <typename T>
constexpr bool is_bits = (sizeof(T) == 4 || sizeof(T) == 8) && !(T(-1) < T(0));

template <typename W, typename T>
__device__ __forceinline__ W* as_word(T* pointer) {
  return reinterpret_cast<W*>(pointer);
}

}  // namespace detail

template <typename T>
__device__ __forceinline__ T* dynamic_shared(size_t byte_offset, size_t /*count*/) {
  return reinterpret_cast<T*>(detail::dynamic_shared_bytes + byte_offset);
}

// ---- barriers and fences ----
__device__ __forceinline__ void sync_block() { __syncthreads(); }
__device__ __forceinline__ bool sync_block_or(bool p) { return __syncthreads_or(p) != 0; }
__device__ __forceinline__ bool sync_block_and(bool p) { return __syncthreads_and(p) != 0; }
__device__ __forceinline__ int sync_block_count(bool p) { return __syncthreads_count(p); }
__device__ __forceinline__ void sync_warp(unsigned mask = kFullMask) { __syncwarp(mask); }
__device__ __forceinline__ void fence_block() { __threadfence_block(); }
__device__ __forceinline__ void fence_device() { __threadfence(); }

// ---- warps ----
__device__ __forceinline__ int thread_rank() {
  return static_cast<int>(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z));
}
__device__ __forceinline__ int lane_id() { return thread_rank() & (kWarpSize - 1); }
__device__ __forceinline__ int warp_id() { return thread_rank() / kWarpSize; }
__device__ __forceinline__ unsigned lanes_below() { return (1u << lane_id()) - 1u; }

template <typename T>
__device__ __forceinline__ T shfl(unsigned mask, T value, int lane) {
  return __shfl_sync(mask, value, lane);
}
template <typename T>
__device__ __forceinline__ T shfl_up(unsigned mask, T value, unsigned delta) {
  return __shfl_up_sync(mask, value, delta);
}
template <typename T>
__device__ __forceinline__ T shfl_down(unsigned mask, T value, unsigned delta) {
  return __shfl_down_sync(mask, value, delta);
}
template <typename T>
__device__ __forceinline__ T shfl_xor(unsigned mask, T value, int lanes) {
  return __shfl_xor_sync(mask, value, lanes);
}
__device__ __forceinline__ unsigned ballot(unsigned mask, bool p) { return __ballot_sync(mask, p); }
__device__ __forceinline__ bool any(unsigned mask, bool p) { return __any_sync(mask, p) != 0; }
__device__ __forceinline__ bool all(unsigned mask, bool p) { return __all_sync(mask, p) != 0; }
template <typename T>
__device__ __forceinline__ unsigned match_any(unsigned mask, T value) {
  return __match_any_sync(mask, value);
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#define ANATPASTE_WARP_REDUCE(name, intrinsic, step)               \
  template <typename T>                                            \
  __device__ __forceinline__ T name(unsigned mask, T value) {      \
    static_assert(sizeof(T) == 4, #name " takes int or unsigned"); \
    return intrinsic(mask, value);                                 \
  }
#else
// Before sm_80 there is no reduce instruction: visit the lanes of the mask.
#define ANATPASTE_WARP_REDUCE(name, intrinsic, step)                           \
  template <typename T>                                                        \
  __device__ __forceinline__ T name(unsigned mask, T value) {                  \
    static_assert(sizeof(T) == 4, #name " takes int or unsigned");             \
    T a = __shfl_sync(mask, value, __ffs(static_cast<int>(mask)) - 1);         \
    for (unsigned rest = mask & (mask - 1); rest != 0; rest &= rest - 1) {     \
      const T b = __shfl_sync(mask, value, __ffs(static_cast<int>(rest)) - 1); \
      a = step;                                                                \
    }                                                                          \
    return a;                                                                  \
  }
#endif
ANATPASTE_WARP_REDUCE(reduce_add, __reduce_add_sync, a + b)
ANATPASTE_WARP_REDUCE(reduce_min, __reduce_min_sync, (b < a ? b : a))
ANATPASTE_WARP_REDUCE(reduce_max, __reduce_max_sync, (a < b ? b : a))
ANATPASTE_WARP_REDUCE(reduce_or, __reduce_or_sync, (a | b))
ANATPASTE_WARP_REDUCE(reduce_and, __reduce_and_sync, (a & b))
#undef ANATPASTE_WARP_REDUCE

// ---- atomics ----
#define ANATPASTE_ATOMIC(name, intrinsic, word)                                           \
  template <typename T>                                                                   \
  __device__ __forceinline__ T name(T* pointer, detail::same_t<T> value) {                \
    using W = detail::word<T>;                                                            \
    return static_cast<T>(intrinsic(detail::as_word<W>(pointer), static_cast<W>(value))); \
  }
ANATPASTE_ATOMIC(atomic_add, atomicAdd, swap_word_t)
ANATPASTE_ATOMIC(atomic_min, atomicMin, atomic_word_t)
ANATPASTE_ATOMIC(atomic_max, atomicMax, atomic_word_t)
ANATPASTE_ATOMIC(atomic_or, atomicOr, swap_word_t)
ANATPASTE_ATOMIC(atomic_and, atomicAnd, swap_word_t)
ANATPASTE_ATOMIC(atomic_exch, atomicExch, swap_word_t)
#undef ANATPASTE_ATOMIC

template <typename T>
__device__ __forceinline__ T atomic_cas(T* pointer, detail::same_t<T> expected, detail::same_t<T> desired) {
  using W = detail::swap_word_t<T>;
  return static_cast<T>(
      atomicCAS(detail::as_word<W>(pointer), static_cast<W>(expected), static_cast<W>(desired)));
}

template <typename T>
__device__ __forceinline__ T relaxed_load(const T* pointer) {
  return *static_cast<const volatile T*>(pointer);
}
template <typename T>
__device__ __forceinline__ void relaxed_store(T* pointer, detail::same_t<T> value) {
  *static_cast<volatile T*>(pointer) = value;
}

// ---- bits ----
// T is any unsigned integer of 32 or 64 bits: uint64_t is `unsigned long` on some hosts and `unsigned long
// long` on others.
template <typename T>
__device__ __forceinline__ int popc(T v) {
  static_assert(detail::is_bits<T>, "popc takes an unsigned integer of 32 or 64 bits");
  if constexpr (sizeof(T) == 8) return __popcll(v);
  return __popc(v);
}
template <typename T>
__device__ __forceinline__ int ffs(T v) {
  static_assert(detail::is_bits<T>, "ffs takes an unsigned integer of 32 or 64 bits");
  if constexpr (sizeof(T) == 8) return __ffsll(static_cast<long long>(v));
  return __ffs(static_cast<int>(v));
}
template <typename T>
__device__ __forceinline__ int clz(T v) {
  static_assert(detail::is_bits<T>, "clz takes an unsigned integer of 32 or 64 bits");
  if constexpr (sizeof(T) == 8) return __clzll(static_cast<long long>(v));
  return __clz(static_cast<int>(v));
}
template <typename T>
__device__ __forceinline__ T brev(T v) {
  static_assert(detail::is_bits<T>, "brev takes an unsigned integer of 32 or 64 bits");
  if constexpr (sizeof(T) == 8) return __brevll(v);
  return __brev(v);
}
__device__ __forceinline__ unsigned funnel_left(unsigned low, unsigned high, unsigned n) {
  return __funnelshift_l(low, high, n);
}
__device__ __forceinline__ unsigned funnel_right(unsigned low, unsigned high, unsigned n) {
  return __funnelshift_r(low, high, n);
}
__device__ __forceinline__ unsigned mulhi(unsigned a, unsigned b) { return __umulhi(a, b); }

template <typename To, typename From>
__device__ __forceinline__ To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "bit_cast needs equal sizes");
  To to;
  memcpy(&to, &from, sizeof(To));
  return to;
}

// ---- wide access ----
template <typename T>
__device__ __forceinline__ uint4 load16(const T* pointer) {
  return *reinterpret_cast<const uint4*>(pointer);
}
template <typename T>
__device__ __forceinline__ void store16(T* pointer, uint4 value) {
  *reinterpret_cast<uint4*>(pointer) = value;
}

}  // namespace anatpaste

#ifndef __CUDACC_RTC__
#include "launch_nvcc.h"
#endif
