// A last-level cache of 32-byte sectors, fully associative, least recently used out first, written back when
// it must go: what reaches DRAM if that is all there is. Count build only.
#pragma once

#include <cstdint>
#include <list>
#include <unordered_map>

namespace anatpaste::simt {

class SectorCache {
 public:
  uint64_t read_sectors = 0, written_sectors = 0;

  void resize(uint64_t bytes) {
    capacity_ = bytes / 32;
    clear();
  }

  void clear() {
    order_.clear();
    where_.clear();
  }

  /// A sector is written whole or read before: a store alone fetches nothing.
  void touch(uintptr_t sector, bool read, bool write) {
    if (capacity_ == 0) return;
    const auto found = where_.find(sector);
    if (found != where_.end()) {
      order_.splice(order_.begin(), order_, found->second);
      order_.front().dirty |= write;
      return;
    }
    if (read) ++read_sectors;
    if (order_.size() >= capacity_) {
      written_sectors += order_.back().dirty ? 1 : 0;
      where_.erase(order_.back().sector);
      order_.pop_back();
    }
    order_.push_front({sector, write});
    where_[sector] = order_.begin();
  }

  /// Writes back what is dirty and keeps it.
  void write_back() {
    for (Line& line : order_) {
      written_sectors += line.dirty ? 1 : 0;
      line.dirty = false;
    }
  }

 private:
  struct Line {
    uintptr_t sector;
    bool dirty;
  };
  uint64_t capacity_ = 0;
  std::list<Line> order_;
  std::unordered_map<uintptr_t, std::list<Line>::iterator> where_;
};

}  // namespace anatpaste::simt
