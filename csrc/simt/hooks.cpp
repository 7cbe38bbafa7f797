// What -fsanitize=thread makes the kernels call before each load and store: we hand it to the
// observer. Host code of the launchers is instrumented as well and is let through. No part of the
// real ThreadSanitizer is linked.
#include "executor.h"

using namespace anatpaste::simt;

namespace {

inline __attribute__((always_inline)) void note(const void* address, size_t bytes, Access access) {
  if (current == nullptr) return;
  observer()->access(*current, address, bytes, access, Marking::kPlain, __builtin_return_address(0));
}

}  // namespace

extern "C" {

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

#define ANATPASTE_HOOKS(bytes)                                                    \
  void __tsan_read##bytes(void* p) { note(p, bytes, Access::kRead); }             \
  void __tsan_write##bytes(void* p) { note(p, bytes, Access::kWrite); }           \
  void __tsan_unaligned_read##bytes(void* p) { note(p, bytes, Access::kRead); }   \
  void __tsan_unaligned_write##bytes(void* p) { note(p, bytes, Access::kWrite); } \
  void __tsan_volatile_read##bytes(void* p) { note(p, bytes, Access::kRead); }    \
  void __tsan_volatile_write##bytes(void* p) { note(p, bytes, Access::kWrite); }
ANATPASTE_HOOKS(1)
ANATPASTE_HOOKS(2)
ANATPASTE_HOOKS(4)
ANATPASTE_HOOKS(8)
ANATPASTE_HOOKS(16)

void __tsan_read_range(void* p, size_t bytes) { note(p, bytes, Access::kRead); }
void __tsan_write_range(void* p, size_t bytes) { note(p, bytes, Access::kWrite); }

// Atomics that host code inlines (reference counts). Kernels have none: theirs go through the executor.
#define ANATPASTE_ATOMICS(bits, type)                                                              \
  type __tsan_atomic##bits##_load(const volatile type* p, int) {                                   \
    return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                                   \
  }                                                                                                \
  void __tsan_atomic##bits##_store(volatile type* p, type v, int) {                                \
    __atomic_store_n(p, v, __ATOMIC_SEQ_CST);                                                      \
  }                                                                                                \
  type __tsan_atomic##bits##_exchange(volatile type* p, type v, int) {                             \
    return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);                                            \
  }                                                                                                \
  type __tsan_atomic##bits##_fetch_add(volatile type* p, type v, int) {                            \
    return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);                                             \
  }                                                                                                \
  type __tsan_atomic##bits##_fetch_sub(volatile type* p, type v, int) {                            \
    return __atomic_fetch_sub(p, v, __ATOMIC_SEQ_CST);                                             \
  }                                                                                                \
  int __tsan_atomic##bits##_compare_exchange_strong(volatile type* p, type* e, type v, int, int) { \
    return __atomic_compare_exchange_n(p, e, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);        \
  }                                                                                                \
  int __tsan_atomic##bits##_compare_exchange_weak(volatile type* p, type* e, type v, int, int) {   \
    return __atomic_compare_exchange_n(p, e, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);        \
  }
ANATPASTE_ATOMICS(8, uint8_t)
ANATPASTE_ATOMICS(16, uint16_t)
ANATPASTE_ATOMICS(32, uint32_t)
ANATPASTE_ATOMICS(64, uint64_t)

void __tsan_atomic_thread_fence(int) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

}  // extern "C"
