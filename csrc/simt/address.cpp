#include "address.h"

#include <dlfcn.h>
#include <link.h>

#include <cstdio>

#include "regions.h"

namespace anatpaste::simt {

namespace {

struct Module {
  uintptr_t begin = 0, end = 0;
};

int note_module(dl_phdr_info* info, size_t, void* data) {
  auto* module = static_cast<Module*>(data);
  const auto self = reinterpret_cast<uintptr_t>(&note_module);
  uintptr_t begin = ~uintptr_t{0}, end = 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& header = info->dlpi_phdr[i];
    if (header.p_type != PT_LOAD) continue;
    begin = std::min<uintptr_t>(begin, info->dlpi_addr + header.p_vaddr);
    end = std::max<uintptr_t>(end, info->dlpi_addr + header.p_vaddr + header.p_memsz);
  }
  if (self < begin || self >= end) return 0;
  *module = {begin, end};
  return 1;
}

/// The address range of this library: its constants may be read.
const Module& own_module() {
  static const Module module = [] {
    Module found;
    dl_iterate_phdr(note_module, &found);
    return found;
  }();
  return module;
}

bool inside(const void* address, const void* begin, size_t bytes) {
  const auto a = reinterpret_cast<uintptr_t>(address), b = reinterpret_cast<uintptr_t>(begin);
  return a >= b && a < b + bytes;
}

[[noreturn]] void fail_access(const char* what, const Thread& thread, const void* address, size_t bytes,
                              Access access, const void* place) {
  fail(std::string(access == Access::kWrite ? "write" : "read") + " of " + std::to_string(bytes) +
       " bytes at " + source_line(place) + ": " + what + " (" + describe_address(thread, address) + ")");
}

bool in_region(const void* address, size_t bytes, bool& writable) {
  const auto* first = static_cast<const unsigned char*>(address);
  bool known = false;
  for (const Region& region : regions()) {
    if (first < region.begin || first + bytes > region.end) continue;
    known = true;
    writable = writable || region.writable;
  }
  return known;
}

}  // namespace

Space classify(const Thread& thread, const void* address, size_t bytes, Access access, const void* place) {
  if (inside(address, thread.fiber.stack_low, thread.fiber.stack_bytes)) return Space::kIgnored;
  const SharedMemory& shared = thread.block->shared;
  if (shared.near(address)) {
    const SharedMemory::Piece* piece = shared.find(address);
    const auto* end = static_cast<const unsigned char*>(address) + bytes;
    if (piece == nullptr || end > piece->begin + piece->bytes) {
      fail_access("outside every shared array", thread, address, bytes, access, place);
    }
    return Space::kShared;
  }
  bool writable = false;
  if (in_region(address, bytes, writable)) {
    if (access == Access::kWrite && !writable) {
      fail_access("the launcher registered this tensor for reading only", thread, address, bytes, access,
                  place);
    }
    return Space::kGlobal;
  }
  const Closure& closure = active_launch().closure;
  if (inside(address, closure.arguments, closure.bytes)) return Space::kIgnored;
  const auto a = reinterpret_cast<uintptr_t>(address);
  if (access == Access::kRead && a >= own_module().begin && a < own_module().end) return Space::kIgnored;
  fail_access("memory that no launcher registered", thread, address, bytes, access, place);
}

uintptr_t aligned_address(const void* address) {
  constexpr uintptr_t kSector = 32;
  const auto* a = static_cast<const unsigned char*>(address);
  uintptr_t shift = 0;
  for (const Region& region : regions()) {
    if (a >= region.begin && a < region.end) shift = reinterpret_cast<uintptr_t>(region.begin) % kSector;
  }
  return reinterpret_cast<uintptr_t>(address) - shift;
}

/// "/x/y/csrc/a.cuh:12 (discriminator 3)\n" -> "csrc/a.cuh:12".
static std::string tidy(const std::string& line) {
  const std::string text = line.substr(0, line.find_first_of("\n ("));
  const size_t at = text.rfind("csrc/");
  return at == std::string::npos ? text.substr(text.rfind('/') + 1) : text.substr(at);
}

std::string source_line(const void* place) {
  Dl_info info;
  if (dladdr(place, &info) == 0 || info.dli_fname == nullptr) return "?";
  const auto offset = reinterpret_cast<uintptr_t>(place) - reinterpret_cast<uintptr_t>(info.dli_fbase) - 1;
  char command[1024];
  std::snprintf(command, sizeof(command), "addr2line -i -e '%s' 0x%zx 2>/dev/null", info.dli_fname, offset);
  FILE* pipe = popen(command, "r");
  if (pipe == nullptr) return "?";
  // Innermost first: the first frame that is not the vocabulary's own header is the kernel's line.
  char line[512];
  std::string found = "?";
  while (std::fgets(line, sizeof(line), pipe) != nullptr) {
    const std::string text = tidy(line);
    const bool own = text.find("device_simt.h") != std::string::npos;
    if (found == "?" || found.find("device_simt.h") != std::string::npos) found = text;
    if (!own) break;
  }
  pclose(pipe);
  return found;
}

std::string describe_address(const Thread& thread, const void* address) {
  const SharedMemory& shared = thread.block->shared;
  const auto* a = static_cast<const unsigned char*>(address);
  if (const SharedMemory::Piece* piece = shared.find(address)) {
    return "shared array '" + std::string(piece->name) + "', byte " + std::to_string(a - piece->begin);
  }
  if (shared.near(address)) {
    // The nearest array that starts below is the one that was overrun.
    const SharedMemory::Piece* below = nullptr;
    for (const auto& piece : shared.pieces()) {
      if (piece.begin <= a && (below == nullptr || piece.begin > below->begin)) below = &piece;
    }
    if (below == nullptr) return "before the shared arrays";
    return std::to_string(a - below->begin - static_cast<ptrdiff_t>(below->bytes)) +
           " bytes after the end of shared array '" + below->name + "'";
  }
  for (const Region& region : regions()) {
    if (a >= region.begin && a < region.end)
      return "global memory, byte " + std::to_string(a - region.begin) + " of a tensor";
  }
  for (const Region& region : regions()) {
    if (a >= region.end && a < region.end + 4096) {
      return std::to_string(a - region.end) + " bytes after the end of a tensor of " +
             std::to_string(region.end - region.begin) + " bytes";
    }
  }
  return "an address far from every tensor";
}

}  // namespace anatpaste::simt
