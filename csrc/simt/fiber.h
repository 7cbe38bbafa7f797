// Stacks and the switch between them: one fibre runs one thread of a kernel.
#pragma once

#include <cstddef>
#include <cstdint>

// Our own switch where we know the calling convention; swapcontext, some twenty times slower, elsewhere.
#if defined(__x86_64__) && !defined(ANATPASTE_SIMT_PORTABLE)
#define ANATPASTE_SIMT_ASSEMBLY 1
#else
#define ANATPASTE_SIMT_ASSEMBLY 0
#endif

#if !ANATPASTE_SIMT_ASSEMBLY
#include <ucontext.h>
#endif

namespace anatpaste::simt {

/// A suspended flow of control. The launching thread's own flow is a Fiber without a stack from the pool.
struct Fiber {
#if ANATPASTE_SIMT_ASSEMBLY
  void* stack_pointer = nullptr;
#else
  ucontext_t context;
#endif
  void* stack_low = nullptr;
  size_t stack_bytes = 0;
  void* sanitizer_stack = nullptr;
};

/// Prepares `fiber` to run `entry` (which never returns) on its stack at the first switch to it.
void prepare(Fiber& fiber, void (*entry)());

/// Suspends `from`, resumes `to`. With `last`, `from` will never run again.
void switch_fiber(Fiber& from, Fiber& to, bool last);

/// To be called first thing in a fibre's entry.
void entered_fiber(Fiber& self);

/// True while every fibre's stack has its lowest words intact.
bool stack_intact(const Fiber& fiber);

/// Stacks for `count` fibres, kept from launch to launch.
class StackPool {
 public:
  ~StackPool();
  void reserve(size_t count);
  void give(size_t index, Fiber& fiber) const;

 private:
  char* base_ = nullptr;
  size_t count_ = 0;
};

}  // namespace anatpaste::simt
