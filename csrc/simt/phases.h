// What each place in the code costs in each phase of a block, a phase being what lies between two block
// barriers. It lets a timing model take the slowest warp of each phase, and tie counts to instructions. Count
// build only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "executor.h"

namespace anatpaste::simt {

/// A code address, or the file and line of a barrier or collective.
struct Site {
  const void* place;
  int line;  // 0: `place` is a code address; else it points to a file's name
  char kind;
  uint8_t bytes;  // of one lane's access

  bool operator==(const Site& other) const {
    return place == other.place && line == other.line && kind == other.kind && bytes == other.bytes;
  }
};

struct SiteHash {
  size_t operator()(const Site& site) const {
    return std::hash<const void*>()(site.place) ^ static_cast<size_t>(site.line * 256 + site.kind);
  }
};

/// Of one site in one phase. `work`: 32-byte sectors for global memory, passes over the banks for shared
/// memory, steps for atomics.
struct SiteCount {
  uint64_t total = 0, work = 0;
  uint64_t block = 0, block_work = 0;  // of the block that has most
  uint64_t warp = 0;                   // of the warp that has most
};

using Phase = std::unordered_map<Site, SiteCount, SiteHash>;

/// The phase that one resident block is in.
class BlockPhase {
 public:
  void begin(size_t warps) {
    warps_.assign(warps, {});
    number_ = 0;
  }

  void add(size_t warp, const Site& site, uint64_t count, uint64_t work) {
    auto& sum = warps_[warp][site];
    sum.first += count;
    sum.second += work;
  }

  /// Books the phase that ends here into the launch's phase of the same number.
  void end(std::vector<Phase>& launch) {
    if (launch.size() <= number_) launch.resize(number_ + 1);
    Phase& phase = launch[number_++];
    Phase own;
    for (auto& warp : warps_) {
      for (const auto& [site, sum] : warp) {
        SiteCount& count = own[site];
        count.block += sum.first;
        count.block_work += sum.second;
        count.warp = std::max(count.warp, sum.first);
      }
      warp.clear();
    }
    for (const auto& [site, count] : own) {
      SiteCount& all = phase[site];
      all.total += count.block;
      all.work += count.block_work;
      all.block = std::max(all.block, count.block);
      all.block_work = std::max(all.block_work, count.block_work);
      all.warp = std::max(all.warp, count.warp);
    }
  }

 private:
  std::vector<std::unordered_map<Site, std::pair<uint64_t, uint64_t>, SiteHash>> warps_;
  size_t number_ = 0;
};

/// "g4+1a2b" for four bytes accessed at a code address, counted from the library's start; "l0+1a2b" for one
/// of g++'s basic blocks entered there; "c0@file:line" for a collective, "b0@file:line" for a barrier.
inline std::string name_of(const Site& site, uintptr_t library) {
  const std::string kind = site.kind + std::to_string(site.bytes);
  if (site.line > 0)
    return kind + "@" + static_cast<const char*>(site.place) + ":" + std::to_string(site.line);
  char text[32];
  std::snprintf(text, sizeof(text), "+%llx",
                static_cast<unsigned long long>(reinterpret_cast<uintptr_t>(site.place) - library));
  return kind + text;
}

inline std::string phases_json(const std::vector<Phase>& phases, uintptr_t library) {
  std::string text = "[";
  for (const Phase& phase : phases) {
    text += text.size() > 1 ? ", {" : "{";
    bool first = true;
    for (const auto& [site, n] : phase) {
      text += (first ? "\"" : ", \"") + name_of(site, library) + "\": [" + std::to_string(n.total) + ", " +
              std::to_string(n.work) + ", " + std::to_string(n.block) + ", " + std::to_string(n.block_work) +
              ", " + std::to_string(n.warp) + "]";
      first = false;
    }
    text += "}";
  }
  return text + "]";
}

}  // namespace anatpaste::simt
