#include "shared_memory.h"

#include <cstdlib>
#include <cstring>

#include "executor.h"

namespace anatpaste::simt {

namespace {

constexpr unsigned char kPoison = 0xA5;
#if !defined(__SANITIZE_ADDRESS__)
constexpr size_t kGuard = 128;
constexpr unsigned char kGuardByte = 0x5A;
constexpr size_t kSpareBytes = 64 * 1024;  // guards and rounding of the static pieces

size_t round_up(size_t n) { return (n + 127) / 128 * 128; }
#endif

}  // namespace

void SharedMemory::clear() {
#if defined(__SANITIZE_ADDRESS__)
  for (const Piece& piece : pieces_) std::free(piece.begin);
#endif
  pieces_.clear();
  used_ = 0;
}

void SharedMemory::reset(size_t dynamic_bytes) {
  clear();
#if !defined(__SANITIZE_ADDRESS__)
  const size_t wanted = static_cast<size_t>(device_model().max_shared_bytes) + kSpareBytes;
  if (arena_bytes_ < wanted) {
    arena_.reset(new unsigned char[wanted + 128]);
    arena_bytes_ = wanted;
  }
#endif
  add(nullptr, "dynamic shared memory", dynamic_bytes);
}

#if defined(__SANITIZE_ADDRESS__)
// Each piece is an allocation of its own, so that ASan's redzones lie at its very ends.
unsigned char* SharedMemory::add(const void* site, const char* name, size_t bytes) {
  auto* begin = static_cast<unsigned char*>(std::malloc(bytes));
  std::memset(begin, kPoison, bytes);
  pieces_.push_back({site, name, begin, bytes, used_});
  used_ += bytes;
  return begin;
}

std::string SharedMemory::damaged() const { return ""; }
bool SharedMemory::near(const void* address) const { return find(address) != nullptr; }
#else
unsigned char* SharedMemory::add(const void* site, const char* name, size_t bytes) {
  const size_t need = 2 * kGuard + round_up(bytes);
  auto base = reinterpret_cast<uintptr_t>(arena_.get());
  unsigned char* start = arena_.get() + (round_up(base) - base) + used_;
  if (used_ + need > arena_bytes_) fail("more static shared arrays than the executor has room for");
  std::memset(start, kGuardByte, need);
  std::memset(start + kGuard, kPoison, bytes);
  pieces_.push_back({site, name, start + kGuard, bytes, used_});
  used_ += need;
  return start + kGuard;
}

std::string SharedMemory::damaged() const {
  for (const Piece& piece : pieces_) {
    const unsigned char* end = piece.begin + round_up(piece.bytes) + kGuard;
    for (const unsigned char* p = piece.begin - kGuard; p < piece.begin; ++p) {
      if (*p != kGuardByte) return piece.name;
    }
    for (const unsigned char* p = piece.begin + piece.bytes; p < end; ++p) {
      if (*p != kGuardByte) return piece.name;
    }
  }
  return "";
}

bool SharedMemory::near(const void* address) const {
  const auto* p = static_cast<const unsigned char*>(address);
  return p >= arena_.get() && p < arena_.get() + arena_bytes_ + 128;
}
#endif

void* SharedMemory::find_or_add(const void* site, const char* name, size_t bytes) {
  for (const Piece& piece : pieces_) {
    if (piece.site == site) return piece.begin;
  }
  return add(site, name, bytes);
}

size_t SharedMemory::total_bytes() const {
  size_t total = 0;
  for (const Piece& piece : pieces_) total += piece.bytes;
  return total;
}

const SharedMemory::Piece* SharedMemory::find(const void* address) const {
  const auto* p = static_cast<const unsigned char*>(address);
  for (const Piece& piece : pieces_) {
    if (p >= piece.begin && p < piece.begin + piece.bytes) return &piece;
  }
  return nullptr;
}

}  // namespace anatpaste::simt
