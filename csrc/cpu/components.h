// 8-connected components of a bit mask, found from its horizontal runs.
#pragma once

#include <cstddef>
#include <vector>

#include "cpu/bit_mask.h"

namespace anatpaste {
namespace cpu {

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
  void number_roots();
  void clear_flagged(BitMask& mask) const;
  void clear_boxes(BitMask& mask, int64_t min_area) const;

  void flag_border(const BitMask& mask);

  std::vector<Run> runs_;           // row_start_.back() of them, and room for more
  std::vector<int32_t> row_start_;  // first run of each row, then their number
  // First an earlier or equal run of the same component, in the end the component.
  std::vector<int32_t> parent_;
  std::vector<int32_t> areas_;
  std::vector<uint8_t> flagged_;  // components to clear
  int32_t count_ = 0;
};

}  // namespace cpu
}  // namespace anatpaste
