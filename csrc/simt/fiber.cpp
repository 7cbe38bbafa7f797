#include "fiber.h"

#include <sys/mman.h>

#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace anatpaste::simt {

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStackBytes = 256 * 1024;  // redzones around every local
#else
constexpr size_t kStackBytes = 64 * 1024;
#endif
// Not a multiple of 4 KB: with it, the hot ends of a thousand stacks would share a handful of cache sets.
constexpr size_t kStride = kStackBytes + 17 * 64;
constexpr uint64_t kCanary = 0x5afe57acc0de5afeull;

}  // namespace

#if ANATPASTE_SIMT_ASSEMBLY
// Saves what the System V ABI asks a callee to keep, swaps stacks, restores. rdi: where to put the old stack
// pointer; rsi: the new one. Kernels leave the floating-point control words alone, so those stay.
asm(R"(
.pushsection .text
.p2align 4
.local anatpaste_simt_switch
.type anatpaste_simt_switch, @function
anatpaste_simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size anatpaste_simt_switch, .-anatpaste_simt_switch
.popsection
)");
extern "C" __attribute__((visibility("hidden"))) void anatpaste_simt_switch(void** save, void* load);

void prepare(Fiber& fiber, void (*entry)()) {
  *static_cast<uint64_t*>(fiber.stack_low) = kCanary;
  auto top = reinterpret_cast<uintptr_t>(fiber.stack_low) + fiber.stack_bytes;
  auto* words =
      reinterpret_cast<void**>(top & ~uintptr_t{15}) - 8;  // six registers, the entry, no return address
  for (int i = 0; i < 6; ++i) words[i] = nullptr;
  words[6] = reinterpret_cast<void*>(entry);
  words[7] = nullptr;
  fiber.stack_pointer = words;
}

static void swap_context(Fiber& from, Fiber& to) {
  anatpaste_simt_switch(&from.stack_pointer, to.stack_pointer);
}
#else
void prepare(Fiber& fiber, void (*entry)()) {
  *static_cast<uint64_t*>(fiber.stack_low) = kCanary;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = static_cast<char*>(fiber.stack_low) + 64;
  fiber.context.uc_stack.ss_size = fiber.stack_bytes - 64;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, entry, 0);
}

static void swap_context(Fiber& from, Fiber& to) { swapcontext(&from.context, &to.context); }
#endif

#if defined(__SANITIZE_ADDRESS__)
void switch_fiber(Fiber& from, Fiber& to, bool last) {
  __sanitizer_start_switch_fiber(last ? nullptr : &from.sanitizer_stack, to.stack_low, to.stack_bytes);
  swap_context(from, to);
  __sanitizer_finish_switch_fiber(from.sanitizer_stack, nullptr, nullptr);
}

void entered_fiber(Fiber& self) { __sanitizer_finish_switch_fiber(self.sanitizer_stack, nullptr, nullptr); }
#else
void switch_fiber(Fiber& from, Fiber& to, bool) { swap_context(from, to); }

void entered_fiber(Fiber&) {}
#endif

bool stack_intact(const Fiber& fiber) { return *static_cast<const uint64_t*>(fiber.stack_low) == kCanary; }

StackPool::~StackPool() {
  if (base_ != nullptr) munmap(base_, count_ * kStride);
}

void StackPool::reserve(size_t count) {
  if (count <= count_) return;
  if (base_ != nullptr) munmap(base_, count_ * kStride);
  count_ = 0;
  void* memory = mmap(nullptr, count * kStride, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  base_ = static_cast<char*>(memory);
  count_ = count;
}

void StackPool::give(size_t index, Fiber& fiber) const {
  fiber.stack_low = base_ + index * kStride;
  fiber.stack_bytes = kStackBytes;
#if defined(__SANITIZE_ADDRESS__)
  // A fibre that was dropped after an error left its frames' redzones behind.
  __asan_unpoison_memory_region(fiber.stack_low, fiber.stack_bytes);
#endif
}

}  // namespace anatpaste::simt
