// 8-connected components of a bit mask, found from its horizontal runs.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "cpu/bit_mask.h"

namespace anatpaste {
namespace cpu {

// Smallest upright box around a component, ends excluded.
struct Box {
  int32_t top, bottom, left, right;
};

// An array that grows without filling what it does not know yet.
template <typename T>
class GrowingArray {
 public:
  // Makes room for `size` elements, of which the first `used` are kept.
  void grow(std::size_t size, std::size_t used) {
    if (size <= room_) return;
    room_ = kGrowth * size;
    std::unique_ptr<T[]> larger(new T[room_]);
    std::copy(elements_.get(), elements_.get() + used, larger.get());
    elements_ = std::move(larger);
  }
  T* data() { return elements_.get(); }
  const T* data() const { return elements_.get(); }
  T& operator[](std::size_t i) { return elements_[i]; }
  const T& operator[](std::size_t i) const { return elements_[i]; }

 private:
  static constexpr std::size_t kGrowth = 4;
  std::unique_ptr<T[]> elements_;
  std::size_t room_ = 0;
};

class Components {
 public:
  // Finds the runs of `mask` and joins those that touch. Components are numbered from 0 in raster order of
  // their first pixel.
  void find(const BitMask& mask);

  int32_t count() const { return count_; }
  // visit(y, run, component), in raster order
  template <typename Visit>
  void for_each_run(const Visit& visit) const {
    for (int32_t y = 0; y + 1 < static_cast<int32_t>(row_start_.size()); ++y) {
      for (int32_t i = row_start_[y]; i < row_start_[y + 1]; ++i) visit(y, runs_[i], parent_[part_[i]]);
    }
  }
  // Writes component + 1 at each of their pixels and 0 elsewhere; labels: height x width of the mask.
  void write_labels(int32_t* labels, int32_t width) const;

  // Pixels of each component.
  const std::vector<int32_t>& measure_areas();

  // Clears the components that touch the border of `mask`, the mask they were found in.
  void clear_border(BitMask& mask);
  // Clears those of fewer than `min_area` pixels; with `bounding_box` also all else within their boxes.
  void remove_small(BitMask& mask, int64_t min_area, bool bounding_box);

 private:
  void join_row(int32_t y);
  void number_roots();
  void clear_flagged(BitMask& mask) const;
  void clear_boxes(BitMask& mask, int64_t min_area) const;

  void flag_border(const BitMask& mask);

  GrowingArray<Run> runs_;          // row_start_.back() of them
  std::vector<int32_t> row_start_;  // first run of each row, then their number
  // Of each run: a part is what is joined already when its runs are found.
  GrowingArray<int32_t> part_;
  // Of each part: first an earlier or equal part of the same component, in the end the component.
  GrowingArray<int32_t> parent_;
  std::vector<Range> touched_;  // of each run of the current row, which runs of the row above
  std::vector<int32_t> areas_;
  std::vector<uint8_t> flagged_;  // components to clear
  int32_t part_count_ = 0, count_ = 0;
};

}  // namespace cpu
}  // namespace anatpaste
