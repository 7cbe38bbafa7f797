// One block's shared memory: the launch's dynamic bytes and one piece for each ANATPASTE_SHARED, all filled
// with 0xA5.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace anatpaste::simt {

class SharedMemory {
 public:
  struct Piece {
    const void* site;  // null for the dynamic bytes
    const char* name;
    unsigned char* begin;
    size_t bytes;
    size_t offset;  // where it would lie in the block's shared memory
  };

  ~SharedMemory() { clear(); }
  void reset(size_t dynamic_bytes);
  void clear();

  const std::vector<Piece>& pieces() const { return pieces_; }
  void* dynamic() const { return pieces_.front().begin; }
  size_t dynamic_bytes() const { return pieces_.front().bytes; }
  void* find_or_add(const void* site, const char* name, size_t bytes);
  size_t total_bytes() const;

  /// The piece that holds the address, or null.
  const Piece* find(const void* address) const;
  /// True for addresses of this block's shared memory, guards included.
  bool near(const void* address) const;
  /// The name of a piece whose guards were written over; empty if none.
  std::string damaged() const;

 private:
  unsigned char* add(const void* site, const char* name, size_t bytes);

  std::vector<Piece> pieces_;
  std::unique_ptr<unsigned char[]> arena_;
  size_t arena_bytes_ = 0;
  size_t used_ = 0;
};

}  // namespace anatpaste::simt
