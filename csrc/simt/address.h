// Whose memory an instrumented access touches. Race and count builds only.
#pragma once

#include "executor.h"

namespace anatpaste::simt {

enum class Space : uint8_t { kIgnored, kShared, kGlobal };

/// Classifies an access and ends the launch with an error if nobody registered the address, or only for
/// reading. The thread's own stack, the launch's arguments and constants of the library are kIgnored.
Space classify(const Thread& thread, const void* address, size_t bytes, Access access, const void* place);

/// The address as it would be were the tensor's first byte aligned as device memory is (CPU tensors may start
/// anywhere).
uintptr_t aligned_address(const void* address);

/// "file:line" of a code address (through addr2line, so for error texts only).
std::string source_line(const void* place);
/// The shared array's name and offset, or the global address.
std::string describe_address(const Thread& thread, const void* address);

}  // namespace anatpaste::simt
