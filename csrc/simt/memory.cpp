// Memory that threads share: registration, atomics, relaxed and wide accesses, windows into shared memory.
#include "memory.h"

#include "executor.h"
#include "regions.h"

namespace anatpaste::simt {

namespace {

// One list a host thread: an op registers and launches on the thread that calls it.
std::vector<Region>& region_list() {
  static thread_local std::vector<Region> list;
  return list;
}

std::string pointer_text(const void* pointer) {
  char text[32];
  std::snprintf(text, sizeof(text), "%p", pointer);
  return text;
}

void check_aligned(const void* pointer, int bytes, const char* what, Where where) {
  if (current == nullptr)
    throw DeviceError(std::string(what) + " at " + describe(where) + " outside a kernel");
  if (reinterpret_cast<uintptr_t>(pointer) % static_cast<uintptr_t>(bytes) == 0) return;
  fail(std::string(what) + " at " + describe(where) + ": address " + pointer_text(pointer) +
       " is not aligned to " + std::to_string(bytes) + " bytes");
}

// Inline so that the return address is the kernel's.
inline __attribute__((always_inline)) void observe(const void* pointer, int bytes, Access access,
                                                   Marking marking) {
  if (observer() == nullptr) return;
  observer()->access(*current, pointer, static_cast<size_t>(bytes), access, marking,
                     __builtin_return_address(0));
}

template <typename T>
T combine(Combine how, T old, T value, bool is_signed) {
  using S = std::make_signed_t<T>;
  const bool less = is_signed ? static_cast<S>(value) < static_cast<S>(old) : value < old;
  switch (how) {
    case Combine::kAdd:
      return old + value;
    case Combine::kMin:
      return less ? value : old;
    case Combine::kMax:
      return less ? old : value;
    case Combine::kOr:
      return old | value;
    case Combine::kAnd:
      return old & value;
    case Combine::kExchange:
      return value;
  }
  return old;
}

template <typename T>
uint64_t update(Combine how, void* pointer, uint64_t value, bool is_signed) {
  auto* cell = static_cast<T*>(pointer);
  const T old = *cell;
  *cell = combine<T>(how, old, static_cast<T>(value), is_signed);
  return old;
}

}  // namespace

const std::vector<Region>& regions() { return region_list(); }

void RegisteredMemory::add(const void* begin, size_t bytes, bool writable) {
  const auto* first = static_cast<const unsigned char*>(begin);
  region_list().push_back({first, first + bytes, writable});
  ++count_;
}

RegisteredMemory::~RegisteredMemory() { region_list().resize(region_list().size() - count_); }

void poison(void* begin, size_t bytes) {
  if (bytes != 0) std::memset(begin, 0xA5, bytes);
}

void fill_memory(const char*, void* pointer, int byte, size_t bytes) {
  if (bytes != 0) std::memset(pointer, byte, bytes);
}

void* shared_slot(const void* site, const char* name, size_t bytes, Where where) {
  SharedMemory& shared = current->block->shared;
  void* begin = shared.find_or_add(site, name, bytes);
  if (shared.total_bytes() > static_cast<size_t>(device_model().max_shared_bytes)) {
    fail("shared array '" + std::string(name) + "' at " + describe(where) + " brings the block to " +
         std::to_string(shared.total_bytes()) + " bytes of shared memory, the device has " +
         std::to_string(device_model().max_shared_bytes));
  }
  return begin;
}

void* dynamic_window(size_t offset, size_t bytes, size_t alignment, Where where) {
  const SharedMemory& shared = current->block->shared;
  if (offset + bytes > shared.dynamic_bytes()) {
    fail("dynamic_shared at " + describe(where) + ": bytes " + std::to_string(offset) + " to " +
         std::to_string(offset + bytes) + " are out of range, the launch asked for " +
         std::to_string(shared.dynamic_bytes()));
  }
  if (offset % alignment != 0) {
    fail("dynamic_shared at " + describe(where) + ": offset " + std::to_string(offset) +
         " is not aligned to " + std::to_string(alignment) + " bytes");
  }
  return static_cast<char*>(shared.dynamic()) + offset;
}

void fence() { may_yield(); }

uint64_t atomic(Combine kind, void* pointer, uint64_t value, int bytes, bool is_signed, Where where) {
  check_aligned(pointer, bytes, "atomic", where);
  may_yield();
  observe(pointer, bytes, Access::kWrite, Marking::kAtomic);
  return bytes == 4 ? update<uint32_t>(kind, pointer, value, is_signed)
                    : update<uint64_t>(kind, pointer, value, is_signed);
}

uint64_t atomic_cas(void* pointer, uint64_t expected, uint64_t desired, int bytes, Where where) {
  check_aligned(pointer, bytes, "atomic_cas", where);
  may_yield();
  observe(pointer, bytes, Access::kWrite, Marking::kAtomic);
  uint64_t old = 0;
  std::memcpy(&old, pointer, static_cast<size_t>(bytes));
  if (old == expected) std::memcpy(pointer, &desired, static_cast<size_t>(bytes));
  return old;
}

uint64_t relaxed_load(const void* pointer, int bytes, Where where) {
  check_aligned(pointer, bytes, "relaxed_load", where);
  may_yield();
  observe(pointer, bytes, Access::kRead, Marking::kRelaxed);
  uint64_t value = 0;
  std::memcpy(&value, pointer, static_cast<size_t>(bytes));
  return value;
}

void relaxed_store(void* pointer, uint64_t value, int bytes, Where where) {
  check_aligned(pointer, bytes, "relaxed_store", where);
  may_yield();
  observe(pointer, bytes, Access::kWrite, Marking::kRelaxed);
  std::memcpy(pointer, &value, static_cast<size_t>(bytes));
}

uint4 load16(const void* pointer, Where where) {
  check_aligned(pointer, 16, "load16", where);
  observe(pointer, 16, Access::kRead, Marking::kPlain);
  return *static_cast<const uint4*>(pointer);
}

void store16(void* pointer, uint4 value, Where where) {
  check_aligned(pointer, 16, "store16", where);
  observe(pointer, 16, Access::kWrite, Marking::kPlain);
  *static_cast<uint4*>(pointer) = value;
}

void assertion(bool condition, const char* text, Where where) {
  if (!condition) fail("assertion '" + std::string(text) + "' at " + describe(where) + " does not hold");
}

}  // namespace anatpaste::simt
