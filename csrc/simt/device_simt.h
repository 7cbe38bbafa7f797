// device.h under g++: the same names, run by the executor (executor.cpp), one fibre a thread. Include
// device.h, not this file.
//
// Everything that another thread can see goes out of line into the executor, which is never instrumented: so
// the race and count builds see each such access once, with its kind. Where a call can be wrong, the caller's
// file and line come along.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <tuple>
#include <type_traits>
#include <utility>

#define ANATPASTE_SIMT 1
#ifndef ANATPASTE_LIBRARY
#define ANATPASTE_LIBRARY anatpaste_simt
#endif
#define ANATPASTE_DISPATCH_KEY CPU

// Wrappers must be inlined: accesses are told apart by the code address in the kernel.
#define ANATPASTE_INLINE inline __attribute__((always_inline))

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

// CUDA's vector types, with their alignment, as far as device code may use them.
#define ANATPASTE_VECTOR_TYPES(scalar, stem)                                        \
  struct alignas(2 * sizeof(scalar)) stem##2 { scalar x, y; };                      \
  struct stem##3 { scalar x, y, z; };                                               \
  struct alignas(4 * sizeof(scalar)) stem##4 { scalar x, y, z, w; };                \
  inline stem##2 make_##stem##2(scalar x, scalar y) { return {x, y}; }              \
  inline stem##3 make_##stem##3(scalar x, scalar y, scalar z) { return {x, y, z}; } \
  inline stem##4 make_##stem##4(scalar x, scalar y, scalar z, scalar w) { return {x, y, z, w}; }
ANATPASTE_VECTOR_TYPES(signed char, char)
ANATPASTE_VECTOR_TYPES(unsigned char, uchar)
ANATPASTE_VECTOR_TYPES(short, short)
ANATPASTE_VECTOR_TYPES(unsigned short, ushort)
ANATPASTE_VECTOR_TYPES(int, int)
ANATPASTE_VECTOR_TYPES(unsigned int, uint)
ANATPASTE_VECTOR_TYPES(float, float)
#undef ANATPASTE_VECTOR_TYPES

namespace anatpaste {

namespace simt {

/// A place in a source file; `Where where = Where::here()` as a default argument names the caller's.
struct Where {
  const char* file;
  int line;
  static constexpr Where here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

/// What launch() hands to the executor: how to run one thread, and where the arguments lie.
struct Closure {
  void (*run)(void*);
  void* arguments;
  size_t bytes;
};

enum class Barrier { kSync, kOr, kAnd, kCount };
enum class Collective { kSync, kShfl, kShflUp, kShflDown, kShflXor, kBallot, kAny, kAll, kMatchAny, kReduce };
enum class Combine { kAdd, kMin, kMax, kOr, kAnd, kExchange };

// Constant for one fibre, and kernels run in one fibre from start to end.
__attribute__((const)) dim3 thread_index();
__attribute__((const)) dim3 block_index();
__attribute__((const)) dim3 block_size();
__attribute__((const)) dim3 grid_size();
__attribute__((const)) int thread_rank();

void* shared_slot(const void* site, const char* name, size_t bytes, Where where);
void* dynamic_window(size_t offset, size_t bytes, size_t alignment, Where where);
int block_barrier(Barrier kind, bool predicate, Where where);
void fence();
/// One lane's part in a collective; `argument` is the lane, distance, or for kReduce a Combine (plus 16 for
/// signed).
uint64_t collective(Collective kind, unsigned mask, uint64_t value, int argument, Where where);
uint64_t atomic(Combine kind, void* pointer, uint64_t value, int bytes, bool is_signed, Where where);
uint64_t atomic_cas(void* pointer, uint64_t expected, uint64_t desired, int bytes, Where where);
uint64_t relaxed_load(const void* pointer, int bytes, Where where);
void relaxed_store(void* pointer, uint64_t value, int bytes, Where where);
uint4 load16(const void* pointer, Where where);
void store16(void* pointer, uint4 value, Where where);
void assertion(bool condition, const char* text, Where where);

void run_launch(const char* name, const Closure& closure, dim3 grid, dim3 block, size_t shared_bytes);
void fill_memory(const char* name, void* pointer, int byte, size_t bytes);
int max_shared_bytes();
int multiprocessor_count();

/// Sign- or zero-extends nothing: the value's own bytes in the low end of a word.
template <typename T>
uint64_t to_word(T value) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>, "a value of at most 8 bytes");
  uint64_t word = 0;
  __builtin_memcpy(&word, &value, sizeof(T));
  return word;
}

template <typename T>
T from_word(uint64_t word) {
  T value;
  __builtin_memcpy(&value, &word, sizeof(T));
  return value;
}

template <typename T>
struct Same {
  using type = T;
};
template <typename T>
using same_t = typename Same<T>::type;

template <typename T>
constexpr bool is_bits = std::is_unsigned_v<T> && (sizeof(T) == 4 || sizeof(T) == 8);
template <typename T>
constexpr bool is_word = std::is_integral_v<T> && (sizeof(T) == 4 || sizeof(T) == 8);

}  // namespace simt

#define threadIdx (::anatpaste::simt::thread_index())
#define blockIdx (::anatpaste::simt::block_index())
#define blockDim (::anatpaste::simt::block_size())
#define gridDim (::anatpaste::simt::grid_size())

// One allocation a block and place of declaration, never `static` storage: each block has its own, and its
// ends are guarded.
#define ANATPASTE_SHARED(type, name, count)                                 \
  static constexpr char name##_site = 0;                                    \
  auto& name = *static_cast<type(*)[count]>(::anatpaste::simt::shared_slot( \
      &name##_site, #name, sizeof(type[count]), ::anatpaste::simt::Where{__FILE__, __LINE__}))
#define ANATPASTE_DEVICE_ASSERT(condition)                               \
  ::anatpaste::simt::assertion(static_cast<bool>(condition), #condition, \
                               ::anatpaste::simt::Where{__FILE__, __LINE__})

template <typename T>
ANATPASTE_INLINE T* dynamic_shared(size_t byte_offset, size_t count,
                                   simt::Where where = simt::Where::here()) {
  return static_cast<T*>(simt::dynamic_window(byte_offset, count * sizeof(T), alignof(T), where));
}

// ---- barriers and fences ----
ANATPASTE_INLINE void sync_block(simt::Where where = simt::Where::here()) {
  simt::block_barrier(simt::Barrier::kSync, false, where);
}
ANATPASTE_INLINE bool sync_block_or(bool p, simt::Where where = simt::Where::here()) {
  return simt::block_barrier(simt::Barrier::kOr, p, where) != 0;
}
ANATPASTE_INLINE bool sync_block_and(bool p, simt::Where where = simt::Where::here()) {
  return simt::block_barrier(simt::Barrier::kAnd, p, where) != 0;
}
ANATPASTE_INLINE int sync_block_count(bool p, simt::Where where = simt::Where::here()) {
  return simt::block_barrier(simt::Barrier::kCount, p, where);
}
ANATPASTE_INLINE void sync_warp(unsigned mask = kFullMask, simt::Where where = simt::Where::here()) {
  simt::collective(simt::Collective::kSync, mask, 0, 0, where);
}
ANATPASTE_INLINE void fence_block() { simt::fence(); }
ANATPASTE_INLINE void fence_device() { simt::fence(); }

// ---- warps ----
ANATPASTE_INLINE int thread_rank() { return simt::thread_rank(); }
ANATPASTE_INLINE int lane_id() { return simt::thread_rank() & (kWarpSize - 1); }
ANATPASTE_INLINE int warp_id() { return simt::thread_rank() / kWarpSize; }
ANATPASTE_INLINE unsigned lanes_below() { return (1u << lane_id()) - 1u; }

template <typename T>
ANATPASTE_INLINE T shfl(unsigned mask, T value, int lane, simt::Where where = simt::Where::here()) {
  return simt::from_word<T>(
      simt::collective(simt::Collective::kShfl, mask, simt::to_word(value), lane, where));
}
template <typename T>
ANATPASTE_INLINE T shfl_up(unsigned mask, T value, unsigned delta, simt::Where where = simt::Where::here()) {
  return simt::from_word<T>(simt::collective(simt::Collective::kShflUp, mask, simt::to_word(value),
                                             static_cast<int>(delta), where));
}
template <typename T>
ANATPASTE_INLINE T shfl_down(unsigned mask, T value, unsigned delta,
                             simt::Where where = simt::Where::here()) {
  return simt::from_word<T>(simt::collective(simt::Collective::kShflDown, mask, simt::to_word(value),
                                             static_cast<int>(delta), where));
}
template <typename T>
ANATPASTE_INLINE T shfl_xor(unsigned mask, T value, int lanes, simt::Where where = simt::Where::here()) {
  return simt::from_word<T>(
      simt::collective(simt::Collective::kShflXor, mask, simt::to_word(value), lanes, where));
}
ANATPASTE_INLINE unsigned ballot(unsigned mask, bool p, simt::Where where = simt::Where::here()) {
  return static_cast<unsigned>(simt::collective(simt::Collective::kBallot, mask, p, 0, where));
}
ANATPASTE_INLINE bool any(unsigned mask, bool p, simt::Where where = simt::Where::here()) {
  return simt::collective(simt::Collective::kAny, mask, p, 0, where) != 0;
}
ANATPASTE_INLINE bool all(unsigned mask, bool p, simt::Where where = simt::Where::here()) {
  return simt::collective(simt::Collective::kAll, mask, p, 0, where) != 0;
}
template <typename T>
ANATPASTE_INLINE unsigned match_any(unsigned mask, T value, simt::Where where = simt::Where::here()) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "match_any takes 4 or 8 bytes");
  return static_cast<unsigned>(
      simt::collective(simt::Collective::kMatchAny, mask, simt::to_word(value), 0, where));
}

#define ANATPASTE_WARP_REDUCE(name, combine)                                                       \
  template <typename T>                                                                            \
  ANATPASTE_INLINE T name(unsigned mask, T value, simt::Where where = simt::Where::here()) {       \
    static_assert(std::is_integral_v<T> && sizeof(T) == 4, #name " takes int or unsigned");        \
    const int argument = static_cast<int>(combine) + (std::is_signed_v<T> ? 16 : 0);               \
    return simt::from_word<T>(                                                                     \
        simt::collective(simt::Collective::kReduce, mask, simt::to_word(value), argument, where)); \
  }
ANATPASTE_WARP_REDUCE(reduce_add, simt::Combine::kAdd)
ANATPASTE_WARP_REDUCE(reduce_min, simt::Combine::kMin)
ANATPASTE_WARP_REDUCE(reduce_max, simt::Combine::kMax)
ANATPASTE_WARP_REDUCE(reduce_or, simt::Combine::kOr)
ANATPASTE_WARP_REDUCE(reduce_and, simt::Combine::kAnd)
#undef ANATPASTE_WARP_REDUCE

// ---- atomics ----
#define ANATPASTE_ATOMIC(name, combine)                                                                 \
  template <typename T>                                                                                 \
  ANATPASTE_INLINE T name(T* pointer, simt::same_t<T> value, simt::Where where = simt::Where::here()) { \
    static_assert(simt::is_word<T>, #name " takes a 32- or 64-bit integer");                            \
    return simt::from_word<T>(                                                                          \
        simt::atomic(combine, pointer, simt::to_word(value), sizeof(T), std::is_signed_v<T>, where));   \
  }
ANATPASTE_ATOMIC(atomic_add, simt::Combine::kAdd)
ANATPASTE_ATOMIC(atomic_min, simt::Combine::kMin)
ANATPASTE_ATOMIC(atomic_max, simt::Combine::kMax)
ANATPASTE_ATOMIC(atomic_or, simt::Combine::kOr)
ANATPASTE_ATOMIC(atomic_and, simt::Combine::kAnd)
ANATPASTE_ATOMIC(atomic_exch, simt::Combine::kExchange)
#undef ANATPASTE_ATOMIC

template <typename T>
ANATPASTE_INLINE T atomic_cas(T* pointer, simt::same_t<T> expected, simt::same_t<T> desired,
                              simt::Where where = simt::Where::here()) {
  static_assert(simt::is_word<T>, "atomic_cas takes a 32- or 64-bit integer");
  return simt::from_word<T>(
      simt::atomic_cas(pointer, simt::to_word(expected), simt::to_word(desired), sizeof(T), where));
}

template <typename T>
ANATPASTE_INLINE T relaxed_load(const T* pointer, simt::Where where = simt::Where::here()) {
  return simt::from_word<T>(simt::relaxed_load(pointer, sizeof(T), where));
}
template <typename T>
ANATPASTE_INLINE void relaxed_store(T* pointer, simt::same_t<T> value,
                                    simt::Where where = simt::Where::here()) {
  simt::relaxed_store(pointer, simt::to_word(value), sizeof(T), where);
}

// ---- bits ----
template <typename T>
inline int popc(T v) {
  static_assert(simt::is_bits<T>, "popc takes an unsigned integer of 32 or 64 bits");
  return __builtin_popcountll(v);
}
template <typename T>
inline int ffs(T v) {
  static_assert(simt::is_bits<T>, "ffs takes an unsigned integer of 32 or 64 bits");
  return __builtin_ffsll(static_cast<long long>(v));
}
template <typename T>
inline int clz(T v) {
  static_assert(simt::is_bits<T>, "clz takes an unsigned integer of 32 or 64 bits");
  constexpr int kBits = 8 * sizeof(T);
  return v == 0 ? kBits : __builtin_clzll(v) - (64 - kBits);
}
template <typename T>
inline T brev(T v) {
  static_assert(simt::is_bits<T>, "brev takes an unsigned integer of 32 or 64 bits");
  T reversed = 0;
  for (size_t bit = 0; bit < 8 * sizeof(T); ++bit) reversed = static_cast<T>(reversed << 1 | (v >> bit & 1));
  return reversed;
}
inline unsigned funnel_left(unsigned low, unsigned high, unsigned n) {
  const uint64_t both = static_cast<uint64_t>(high) << 32 | low;
  return static_cast<unsigned>(both << (n & 31) >> 32);
}
inline unsigned funnel_right(unsigned low, unsigned high, unsigned n) {
  const uint64_t both = static_cast<uint64_t>(high) << 32 | low;
  return static_cast<unsigned>(both >> (n & 31));
}
inline unsigned mulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32);
}

template <typename To, typename From>
inline To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "bit_cast needs equal sizes");
  To to;
  __builtin_memcpy(&to, &from, sizeof(To));
  return to;
}

// ---- wide access ----
template <typename T>
ANATPASTE_INLINE uint4 load16(const T* pointer, simt::Where where = simt::Where::here()) {
  return simt::load16(pointer, where);
}
template <typename T>
ANATPASTE_INLINE void store16(T* pointer, uint4 value, simt::Where where = simt::Where::here()) {
  simt::store16(pointer, value, where);
}

// ---- host ----
/// Stands for cudaStream_t: launches run at once, in order.
using Stream = struct SimtStream*;

/// A kernel broke a rule; what() names kernel, block, thread, place and schedule.
class DeviceError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <typename... P, typename... A>
void launch(const char* name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, Stream,
            A&&... args) {
  static_assert(sizeof...(P) == sizeof...(A),
                "launch needs one argument for each of the kernel's parameters");
  struct Call {
    void (*kernel)(P...);
    std::tuple<std::decay_t<P>...> arguments;
  } call{kernel, std::tuple<std::decay_t<P>...>(static_cast<P>(args)...)};
  const auto run = [](void* data) {
    auto* call = static_cast<Call*>(data);
    std::apply(call->kernel, call->arguments);
  };
  simt::run_launch(name, simt::Closure{run, &call, sizeof(call)}, grid, block, shared_bytes);
}

inline void memset_async(const char* name, void* pointer, int byte, size_t bytes, Stream) {
  simt::fill_memory(name, pointer, byte, bytes);
}

inline int max_shared_bytes() { return simt::max_shared_bytes(); }
inline int multiprocessor_count() { return simt::multiprocessor_count(); }

}  // namespace anatpaste
