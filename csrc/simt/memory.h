// What memory the kernels of one op may touch, and poison for what nobody has written yet.
#pragma once

#include <cstddef>

namespace anatpaste::simt {

/// Registers global memory for as long as it lives: one op's tensors. An access elsewhere is an error in the
/// race and count builds.
class RegisteredMemory {
 public:
  RegisteredMemory() = default;
  RegisteredMemory(const RegisteredMemory&) = delete;
  RegisteredMemory& operator=(const RegisteredMemory&) = delete;
  ~RegisteredMemory();

  void add(const void* begin, size_t bytes, bool writable);

 private:
  int count_ = 0;
};

/// Fills memory with 0xA5, so that reading it before writing it shows.
void poison(void* begin, size_t bytes);

}  // namespace anatpaste::simt
