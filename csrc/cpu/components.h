// 8-connected components of a bit mask, found from its horizontal runs.
#pragma once

#include <cstddef>
#include <vector>

#include "cpu/bit_mask.h"

namespace anatpaste {
namespace cpu {

// Pixels begin .. end - 1 of one row.
struct Run {
  int32_t begin;
  int32_t end;
};

// Smallest upright box around a component, ends excluded.
struct Box {
  int32_t top, bottom, left, right;
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
      for (int32_t i = row_start_[y]; i < row_start_[y + 1]; ++i) visit(y, runs_[i], parent_[i]);
    }
  }

  // Pixels of each component.
  const std::vector<int32_t>& measure_areas();

  // Clears the components that touch the border of `mask`, the mask they were found in.
  void clear_border(BitMask& mask);
  // Clears those of fewer than `min_area` pixels; with `bounding_box` also all else within their boxes.
  void remove_small(BitMask& mask, int64_t min_area, bool bounding_box);

 private:
  void collect_runs(const BitMask& mask);
  void join_rows(int32_t y);
  int32_t root_of(int32_t run);
  void join(int32_t a, int32_t b);
  void number_roots();
  void clear_flagged(BitMask& mask) const;
  void clear_boxes(BitMask& mask, int64_t min_area) const;

  std::vector<Run> runs_;
  std::vector<int32_t> row_start_;  // first run of each row, then their number
  std::vector<int32_t>
      parent_;  // first an earlier or equal run of the same component, in the end the component
  std::vector<int32_t> areas_;
  std::vector<uint8_t> flagged_;  // components to clear
  int32_t count_ = 0;
};

}  // namespace cpu
}  // namespace anatpaste
