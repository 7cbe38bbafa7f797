// The race detector: two accesses to a byte, at least one of them a write and not both marked (relaxed or
// atomic), by different threads, with no barrier between them. Order comes from sync_block (epochs), from
// sync_warp (a vector clock a lane, over the lanes of its warp), and from one launch to the next; collectives
// other than sync_warp order nothing, as in CUDA, and nothing orders two blocks of one launch. It does not
// depend on the order in which the schedule ran the threads.
#include <array>
#include <memory>
#include <unordered_map>

#include "address.h"

namespace anatpaste::simt {

namespace {

constexpr uint32_t kNobody = ~0u;

/// Who touched a byte: thread of the grid, block epoch and lane clock at that time, and the code address.
struct Record {
  uint32_t thread = kNobody;
  uint32_t epoch = 0;
  uint32_t clock = 0;
  const void* place = nullptr;
};

/// What is remembered of one byte (or of a word whose four bytes were always touched together).
struct History {
  Record write;             // the last plain write: earlier ones are ordered before it, or were reported
  Record reads[4];          // plain reads since, from different warps where there are several
  Record marked_writes[2];  // relaxed and atomic writes since
  Record marked_reads[2];
};

struct Word {
  uint64_t generation = 0;
  bool split = false;
  History whole;
  std::unique_ptr<std::array<History, 4>> bytes;
};

constexpr uintptr_t kPageBytes = 4096;
using Page = std::array<Word, kPageBytes / 4>;
constexpr size_t kMaxPages = 3000;  // about 1 GB of histories

using Clocks = std::array<std::array<uint32_t, kWarpSize>, kWarpSize>;  // [lane][of lane]

struct BlockState {
  uint64_t generation = 0;
  std::vector<Clocks> warps;
};

struct Touch {
  Thread& thread;
  const void* address;
  Access access;
  Marking marking;
  Record record;
  Clocks& clocks;
};

class RaceObserver final : public Observer {
 public:
  void launch_begin(const Launch& launch, const Schedule& schedule) override {
    launch_generation_ = ++generations_;
    threads_ = static_cast<uint32_t>(launch.threads);
    blocks_.resize(static_cast<size_t>(schedule.resident_blocks));
    if (pages_.size() > kMaxPages) pages_.clear();
    last_key_ = 0;
    last_page_ = nullptr;
  }

  void block_begin(Block& block) override {
    BlockState& state = blocks_[block.slot];
    state.generation = ++generations_;
    state.warps.resize(block.warps.size());
    for (Clocks& clocks : state.warps) {
      for (int lane = 0; lane < kWarpSize; ++lane) {
        clocks[lane].fill(0);
        clocks[lane][lane] = 1;
      }
    }
  }

  void collective(Block& block, int warp, unsigned mask, Collective kind) override {
    if (kind != Collective::kSync) return;
    Clocks& clocks = blocks_[block.slot].warps[warp];
    std::array<uint32_t, kWarpSize> joined{};
    for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
      const auto& mine = clocks[__builtin_ctz(rest)];
      for (int i = 0; i < kWarpSize; ++i) joined[i] = std::max(joined[i], mine[i]);
    }
    for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
      const int lane = __builtin_ctz(rest);
      clocks[lane] = joined;
      ++clocks[lane][lane];
    }
  }

  void access(Thread& thread, const void* address, size_t bytes, Access access, Marking marking,
              const void* place) override {
    const Space space = classify(thread, address, bytes, access, place);
    if (space == Space::kIgnored) return;
    BlockState& block = blocks_[thread.block->slot];
    Clocks& clocks = block.warps[thread.rank / kWarpSize];
    const int lane = thread.rank % kWarpSize;
    const auto id =
        static_cast<uint32_t>(thread.block->ordinal * threads_) + static_cast<uint32_t>(thread.rank);
    const Record record{id, thread.block->epoch, clocks[lane][lane], place};
    const Touch touch{thread, address, access, marking, record, clocks};
    const uint64_t generation = space == Space::kShared ? block.generation : launch_generation_;
    auto at = reinterpret_cast<uintptr_t>(address);
    const uintptr_t end = at + bytes;
    while (at < end) {
      const uintptr_t stop = std::min(end, (at / 4 + 1) * 4);
      touch_word(word(at, generation), at % 4, stop - at, touch);
      at = stop;
    }
  }

 private:
  Word& word(uintptr_t address, uint64_t generation) {
    const uintptr_t key = address / kPageBytes;
    if (key != last_key_ || last_page_ == nullptr) {
      auto& page = pages_[key];
      if (page == nullptr) page = std::make_unique<Page>();
      last_key_ = key;
      last_page_ = page.get();
    }
    Word& found = (*last_page_)[address % kPageBytes / 4];
    if (found.generation != generation) {
      found.generation = generation;
      found.split = false;
      found.whole = History{};
    }
    return found;
  }

  void touch_word(Word& word, size_t first, size_t count, const Touch& touch) {
    if (count == 4 && !word.split) {
      touch_history(word.whole, touch);
      return;
    }
    if (!word.split) {
      if (word.bytes == nullptr) word.bytes = std::make_unique<std::array<History, 4>>();
      word.bytes->fill(word.whole);
      word.split = true;
    }
    for (size_t i = first; i < first + count; ++i) touch_history((*word.bytes)[i], touch);
  }

  void touch_history(History& history, const Touch& touch) {
    const bool marked = touch.marking != Marking::kPlain;
    check(history.write, "write", touch);
    if (touch.access == Access::kWrite) {
      for (const Record& record : history.reads) check(record, "read", touch);
    }
    if (!marked) {
      for (const Record& record : history.marked_writes) check(record, "marked write", touch);
      if (touch.access == Access::kWrite) {
        for (const Record& record : history.marked_reads) check(record, "marked read", touch);
        history = History{};  // whatever came before is ordered before this write
        history.write = touch.record;
        return;
      }
      remember(history.reads, touch.record);
    } else if (touch.access == Access::kWrite) {
      remember(history.marked_writes, touch.record);
    } else {
      remember(history.marked_reads, touch.record);
    }
  }

  /// Keeps the newest of each thread; when full, drops one of the newcomer's own warp first, so that other
  /// warps' stay.
  template <size_t n>
  void remember(Record (&records)[n], const Record& record) {
    size_t victim = n, same_warp = 0;
    for (size_t i = 0; i < n; ++i) {
      if (records[i].thread == kNobody || records[i].thread == record.thread || stale(records[i], record)) {
        records[i] = record;
        return;
      }
      if (warp_of(records[i]) == warp_of(record)) {
        ++same_warp;
        victim = i;
      }
    }
    if (same_warp == 0) victim = record.clock % n;
    records[victim] = record;
  }

  uint64_t warp_of(const Record& r) const {
    return uint64_t{r.thread / threads_} << 32 | r.thread % threads_ / kWarpSize;
  }
  /// An earlier epoch of the same block: ordered before everything to come from it.
  bool stale(const Record& old, const Record& now) const {
    return old.thread / threads_ == now.thread / threads_ && old.epoch != now.epoch;
  }

  void check(const Record& old, const char* old_kind, const Touch& touch) {
    const Record& now = touch.record;
    if (old.thread == kNobody || old.thread == now.thread) return;
    if (old.thread / threads_ == now.thread / threads_) {
      if (old.epoch != now.epoch) return;
      const uint32_t old_rank = old.thread % threads_, rank = now.thread % threads_;
      if (old_rank / kWarpSize == rank / kWarpSize &&
          touch.clocks[rank % kWarpSize][old_rank % kWarpSize] >= old.clock) {
        return;
      }
    }
    report(old, old_kind, touch);
  }

  [[noreturn]] void report(const Record& old, const char* old_kind, const Touch& touch) {
    const auto word = [](Access access, Marking marking) {
      const std::string prefix = marking == Marking::kAtomic    ? "atomic "
                                 : marking == Marking::kRelaxed ? "relaxed "
                                                                : "";
      return prefix + (access == Access::kWrite ? "write" : "read");
    };
    fail("data race on " + describe_address(touch.thread, touch.address) + ": " +
         word(touch.access, touch.marking) + " at " + source_line(touch.record.place) +
         " is not ordered after the " + old_kind + " at " + source_line(old.place) + " by block " +
         std::to_string(old.thread / threads_) + ", thread " + std::to_string(old.thread % threads_));
  }

  std::unordered_map<uintptr_t, std::unique_ptr<Page>> pages_;
  uintptr_t last_key_ = 0;
  Page* last_page_ = nullptr;
  std::vector<BlockState> blocks_;
  uint64_t generations_ = 0;
  uint64_t launch_generation_ = 0;
  uint32_t threads_ = 1;
};

}  // namespace

Observer* observer() {
  static RaceObserver instance;
  return &instance;
}

}  // namespace anatpaste::simt
