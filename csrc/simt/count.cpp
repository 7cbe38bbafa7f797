// The counters: what a launch asks of memory, of the shared-memory banks, of barriers and of atomics.
//
// Lanes run one after another here, so warp accesses are put together afterwards: between two
// synchronisations of a warp (block barrier, collective or sync_warp of all its live lanes, end of the
// block), the k-th access of each lane at one code address counts as one access of the warp. This is what a
// warp that stays converged does; where lanes leave a loop at different times it assumes that they run its
// iterations together, so it is a lower bound on divergent code.
#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <unordered_map>

#include "address.h"
#include "control.h"
#include "phases.h"
#include "sector_cache.h"

namespace anatpaste::simt {

namespace {

enum Counter {
  kGlobalLoadBytes,
  kGlobalStoreBytes,
  kGlobalLoads,
  kGlobalStores,
  kGlobalLoadSectors,
  kGlobalStoreSectors,
  kGlobalAtomics,
  kGlobalAtomicLanes,
  kGlobalAtomicSteps,
  kSharedLoads,
  kSharedStores,
  kSharedBytes,
  kSharedConflicts,
  kSharedAtomics,
  kSharedAtomicLanes,
  kSharedAtomicSteps,
  kBarriers,
  kWarpSyncs,
  kCollectives,
  kCounters
};

const char* const kNames[kCounters] = {"global_load_bytes",
                                       "global_store_bytes",
                                       "global_loads",
                                       "global_stores",
                                       "global_load_sectors",
                                       "global_store_sectors",
                                       "global_atomics",
                                       "global_atomic_lanes",
                                       "global_atomic_steps",
                                       "shared_loads",
                                       "shared_stores",
                                       "shared_bytes",
                                       "shared_conflicts",
                                       "shared_atomics",
                                       "shared_atomic_lanes",
                                       "shared_atomic_steps",
                                       "barriers",
                                       "warp_syncs",
                                       "collectives"};

using Counts = std::array<uint64_t, kCounters>;

struct Entry {
  const void* place;
  uintptr_t address;
  uint8_t bytes;
  Space space;
  Access access;
  bool atomic;
};

/// One access of a warp.
struct WarpAccess {
  Entry first;
  int lanes = 0;
  uintptr_t address[kWarpSize];
  uint8_t lane[kWarpSize];
};

struct WarpLog {
  std::array<std::vector<Entry>, kWarpSize> lanes;
  std::unordered_map<const void*, std::array<uint32_t, kWarpSize>> code;  // basic blocks entered
};

struct BlockLog {
  Counts counts{};
  std::vector<WarpLog> warps;
  std::unordered_map<uintptr_t, uint64_t> atomic_targets;
  BlockPhase phase;
};

/// Which 32-byte sectors of a 4 KB page were touched.
struct Footprint {
  uint64_t read[2] = {0, 0}, written[2] = {0, 0};
};

struct LaunchCounts {
  std::string name;
  dim3 grid, block;
  size_t dynamic_shared = 0, shared = 0;
  Counts total{}, largest_block{};
  uint64_t load_footprint = 0, store_footprint = 0;
  uint64_t hottest_global_atomic = 0, hottest_shared_atomic = 0;
  uint64_t cache_read_sectors = 0, cache_written_sectors = 0;
  std::vector<Phase> phases;
};

int distinct(uintptr_t* values, int n) {
  std::sort(values, values + n);
  return static_cast<int>(std::unique(values, values + n) - values);
}

int sectors_of(const WarpAccess& access) {
  uintptr_t sectors[2 * kWarpSize];
  int n = 0;
  for (int i = 0; i < access.lanes; ++i) {
    sectors[n++] = access.address[i] / 32;
    const uintptr_t last = (access.address[i] + access.first.bytes - 1) / 32;
    if (last != sectors[n - 1]) sectors[n++] = last;
  }
  return distinct(sectors, n);
}

/// Passes over the 32 four-byte banks, of which one is there without any conflict. 8- and 16-byte accesses go
/// half and quarter warp by half and quarter warp, with one such pass each.
struct Passes {
  int all, extra;
};

Passes bank_passes(const WarpAccess& access) {
  const int words = std::max(1, access.first.bytes / 4);
  const int lanes_a_part = kWarpSize / words;
  Passes passes = {0, 0};
  for (int part = 0; part < words; ++part) {
    uintptr_t touched[kWarpSize];
    int n = 0;
    for (int i = 0; i < access.lanes; ++i) {
      if (access.lane[i] / lanes_a_part != part) continue;
      for (int word = 0; word < words; ++word) touched[n++] = access.address[i] / 4 + word;
    }
    n = distinct(touched, n);
    int load[kWarpSize] = {};
    int most = 0;
    for (int i = 0; i < n; ++i) most = std::max(most, ++load[touched[i] % kWarpSize]);
    passes.all += most;
    passes.extra += std::max(0, most - 1);
  }
  return passes;
}

/// How often a warp's atomic repeats: lanes on one address go one after another, in shared memory lanes on
/// one bank.
int atomic_steps(const WarpAccess& access) {
  uintptr_t targets[kWarpSize];
  const bool shared = access.first.space == Space::kShared;
  for (int i = 0; i < access.lanes; ++i) {
    targets[i] = shared ? access.address[i] / 4 % kWarpSize : access.address[i];
  }
  std::sort(targets, targets + access.lanes);
  int most = 0, run = 0;
  for (int i = 0; i < access.lanes; ++i) {
    run = i > 0 && targets[i] == targets[i - 1] ? run + 1 : 1;
    most = std::max(most, run);
  }
  return most;
}

/// Books one access of a warp; returns its work (phases.h).
uint64_t count_access(const WarpAccess& access, Counts& counts) {
  const Entry& first = access.first;
  const uint64_t bytes = uint64_t{first.bytes} * static_cast<uint64_t>(access.lanes);
  const bool load = first.access == Access::kRead;
  const bool shared = first.space == Space::kShared;
  if (first.atomic) {
    const auto steps = static_cast<uint64_t>(atomic_steps(access));
    counts[shared ? kSharedAtomics : kGlobalAtomics] += 1;
    counts[shared ? kSharedAtomicLanes : kGlobalAtomicLanes] += static_cast<uint64_t>(access.lanes);
    counts[shared ? kSharedAtomicSteps : kGlobalAtomicSteps] += steps;
    return steps;
  }
  if (shared) {
    const Passes passes = bank_passes(access);
    counts[load ? kSharedLoads : kSharedStores] += 1;
    counts[kSharedBytes] += bytes;
    counts[kSharedConflicts] += static_cast<uint64_t>(passes.extra);
    return static_cast<uint64_t>(passes.all);
  }
  const auto sectors = static_cast<uint64_t>(sectors_of(access));
  counts[load ? kGlobalLoads : kGlobalStores] += 1;
  counts[load ? kGlobalLoadBytes : kGlobalStoreBytes] += bytes;
  counts[load ? kGlobalLoadSectors : kGlobalStoreSectors] += sectors;
  return sectors;
}

/// g, G: global load and store; s, S: of shared memory; A, a: atomics there.
char kind_of(const Entry& entry) {
  const bool shared = entry.space == Space::kShared;
  if (entry.atomic) return shared ? 'a' : 'A';
  if (entry.access == Access::kRead) return shared ? 's' : 'g';
  return shared ? 'S' : 'G';
}

void flush(BlockLog& block, size_t warp) {
  struct Accesses {
    std::vector<WarpAccess> accesses;
    int lane = -1;
    size_t next = 0;
  };
  WarpLog& log = block.warps[warp];
  static std::unordered_map<const void*, Accesses> sites;
  sites.clear();
  for (int lane = 0; lane < kWarpSize; ++lane) {
    for (const Entry& entry : log.lanes[lane]) {
      Accesses& site = sites[entry.place];
      if (site.lane != lane) {
        site.lane = lane;
        site.next = 0;
      }
      if (site.next == site.accesses.size()) {
        site.accesses.emplace_back();
        site.accesses.back().first = entry;
      }
      WarpAccess& access = site.accesses[site.next++];
      access.lane[access.lanes] = static_cast<uint8_t>(lane);
      access.address[access.lanes++] = entry.address;
    }
    log.lanes[lane].clear();
  }
  for (const auto& [place, site] : sites) {
    for (const WarpAccess& access : site.accesses) {
      const uint64_t work = count_access(access, block.counts);
      block.phase.add(warp, {place, 0, kind_of(access.first), access.first.bytes}, 1, work);
    }
  }
}

/// A warp enters a basic block as often as the lane that does so most.
void flush_code(BlockLog& block, size_t warp) {
  auto& code = block.warps[warp].code;
  for (const auto& [place, entered] : code)
    block.phase.add(warp, {place, 0, 'l', 0}, *std::max_element(entered.begin(), entered.end()), 0);
  code.clear();
}

void flush_all(BlockLog& block) {
  for (size_t warp = 0; warp < block.warps.size(); ++warp) {
    flush(block, warp);
    flush_code(block, warp);
  }
}

class CountObserver final : public Observer {
 public:
  std::vector<LaunchCounts> launches;
  SectorCache cache;

  void launch_begin(const Launch& launch, const Schedule& schedule) override {
    now_ = LaunchCounts{};
    now_.name = launch.name;
    now_.grid = launch.grid;
    now_.block = launch.block;
    now_.dynamic_shared = launch.shared_bytes;
    blocks_.resize(static_cast<size_t>(schedule.resident_blocks));
    pages_.clear();
    global_targets_.clear();
    last_page_ = nullptr;
    cache.read_sectors = cache.written_sectors = 0;
  }

  void launch_end(const Launch&) override {
    for (const auto& [key, page] : pages_) {
      for (int i = 0; i < 2; ++i) {
        now_.load_footprint += 32u * static_cast<unsigned>(__builtin_popcountll(page.read[i]));
        now_.store_footprint += 32u * static_cast<unsigned>(__builtin_popcountll(page.written[i]));
      }
    }
    for (const auto& [address, n] : global_targets_)
      now_.hottest_global_atomic = std::max(now_.hottest_global_atomic, n);
    cache.write_back();
    now_.cache_read_sectors = cache.read_sectors;
    now_.cache_written_sectors = cache.written_sectors;
    launches.push_back(now_);
  }

  void block_begin(Block& block) override {
    BlockLog& log = blocks_[block.slot];
    log.counts = Counts{};
    log.warps.assign(block.warps.size(), WarpLog{});
    log.atomic_targets.clear();
    log.phase.begin(block.warps.size());
  }

  void block_end(Block& block) override {
    BlockLog& log = blocks_[block.slot];
    flush_all(log);
    log.phase.end(now_.phases);
    for (int i = 0; i < kCounters; ++i) {
      now_.total[i] += log.counts[i];
      now_.largest_block[i] = std::max(now_.largest_block[i], log.counts[i]);
    }
    now_.shared = std::max(now_.shared, block.shared.total_bytes());
    for (const auto& [address, n] : log.atomic_targets)
      now_.hottest_shared_atomic = std::max(now_.hottest_shared_atomic, n);
  }

  void barrier(Block& block) override {
    BlockLog& log = blocks_[block.slot];
    ++log.counts[kBarriers];
    flush_all(log);
    for (size_t warp = 0; warp < log.warps.size(); ++warp)
      log.phase.add(warp, {current->where.file, current->where.line, 'b', 0}, 1, 1);
    log.phase.end(now_.phases);
  }

  void collective(Block& block, int warp, unsigned mask, Collective kind) override {
    BlockLog& log = blocks_[block.slot];
    ++log.counts[kind == Collective::kSync ? kWarpSyncs : kCollectives];
    if (mask == (block.warps[warp].present & ~block.warps[warp].done)) flush(log, static_cast<size_t>(warp));
    log.phase.add(static_cast<size_t>(warp), {current->where.file, current->where.line, 'c', 0}, 1, 1);
  }

  void enter(const Thread& thread, const void* place) {
    const int rank = thread.rank;
    ++blocks_[thread.block->slot].warps[rank / kWarpSize].code[place][rank % kWarpSize];
  }

  void access(Thread& thread, const void* address, size_t bytes, Access access, Marking marking,
              const void* place) override {
    const Space space = classify(thread, address, bytes, access, place);
    if (space == Space::kIgnored) return;
    BlockLog& log = blocks_[thread.block->slot];
    const uintptr_t at =
        space == Space::kGlobal ? aligned_address(address) : reinterpret_cast<uintptr_t>(address);
    const bool atomic = marking == Marking::kAtomic;
    log.warps[thread.rank / kWarpSize].lanes[thread.rank % kWarpSize].push_back(
        {place, at, static_cast<uint8_t>(bytes), space, access, atomic});
    if (space == Space::kGlobal)
      touch(at, bytes, access == Access::kRead || atomic, access == Access::kWrite);
    if (atomic) ++(space == Space::kGlobal ? global_targets_ : log.atomic_targets)[at];
  }

 private:
  void touch(uintptr_t address, size_t bytes, bool read, bool write) {
    for (uintptr_t sector = address / 32; sector <= (address + bytes - 1) / 32; ++sector) {
      if (last_page_ == nullptr || sector / 128 != last_key_) {
        last_key_ = sector / 128;
        last_page_ = &pages_[last_key_];
      }
      const uint64_t bit = 1ull << sector % 64;
      if (read) last_page_->read[sector % 128 / 64] |= bit;
      if (write) last_page_->written[sector % 128 / 64] |= bit;
      cache.touch(sector, read, write);
    }
  }

  LaunchCounts now_;
  std::vector<BlockLog> blocks_;
  std::unordered_map<uintptr_t, Footprint> pages_;
  std::unordered_map<uintptr_t, uint64_t> global_targets_;
  uintptr_t last_key_ = 0;
  Footprint* last_page_ = nullptr;
};

CountObserver& counter() {
  static CountObserver instance;
  return instance;
}

std::string number(const char* name, uint64_t value) {
  return std::string("\"") + name + "\": " + std::to_string(value);
}

std::string triple(const char* name, dim3 d) {
  return std::string("\"") + name + "\": [" + std::to_string(d.x) + ", " + std::to_string(d.y) + ", " +
         std::to_string(d.z) + "]";
}

std::string object(const Counts& counts) {
  std::string text = "{";
  for (int i = 0; i < kCounters; ++i) text += (i == 0 ? "" : ", ") + number(kNames[i], counts[i]);
  return text + "}";
}

}  // namespace

Observer* observer() { return &counter(); }

void reset_counters() { counter().launches.clear(); }

/// Where this library begins: the addresses of sites count from there, as addr2line wants them.
uintptr_t library_begin() {
  Dl_info info{};
  return dladdr(reinterpret_cast<void*>(&reset_counters), &info) != 0
             ? reinterpret_cast<uintptr_t>(info.dli_fbase)
             : 0;
}

std::string counters_json() {
  std::string text = "[";
  for (const LaunchCounts& launch : counter().launches) {
    if (text.size() > 1) text += ", ";
    text +=
        "{\"name\": \"" + launch.name + "\", " + triple("grid", launch.grid) + ", " +
        triple("block", launch.block) + ", " + number("dynamic_shared_bytes", launch.dynamic_shared) + ", " +
        number("shared_bytes", launch.shared) + ", " + number("load_footprint_bytes", launch.load_footprint) +
        ", " + number("store_footprint_bytes", launch.store_footprint) + ", " +
        number("hottest_global_atomic", launch.hottest_global_atomic) + ", " +
        number("hottest_shared_atomic", launch.hottest_shared_atomic) + ", " +
        number("cache_read_bytes", 32 * launch.cache_read_sectors) + ", " +
        number("cache_written_bytes", 32 * launch.cache_written_sectors) +
        ", \"phases\": " + phases_json(launch.phases, library_begin()) +
        ", \"total\": " + object(launch.total) + ", \"largest_block\": " + object(launch.largest_block) + "}";
  }
  return text + "]";
}

}  // namespace anatpaste::simt

using anatpaste::simt::counter;

/// Simulates a cache of so many bytes from now on, empty; 0: none.
extern "C" __attribute__((visibility("default"))) void simt_set_cache(uint64_t bytes) {
  counter().cache.resize(bytes);
}

/// The kernels call this on entering each of their basic blocks.
extern "C" void __sanitizer_cov_trace_pc() {
  using anatpaste::simt::current;
  if (current != nullptr) counter().enter(*current, __builtin_return_address(0));
}
