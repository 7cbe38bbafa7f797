#include "cpu/components.h"

namespace anatpaste {
namespace cpu {

void Components::find(const BitMask& mask) {
  collect_runs(mask);
  parent_.resize(runs_.size());
  for (std::size_t i = 0; i < runs_.size(); ++i) parent_[i] = static_cast<int32_t>(i);
  for (int32_t y = 1; y < mask.height(); ++y) join_rows(y);
  number_roots();
}

void Components::collect_runs(const BitMask& mask) {
  runs_.clear();
  row_start_.assign(1, 0);
  for (int32_t y = 0; y < mask.height(); ++y) {
    const uint64_t* bits = mask.row(y);
    uint64_t last = 0;     // the pixel before this word
    int32_t open_at = -1;  // where the run that reaches into this word began
    for (int32_t w = 0; w < mask.words(); ++w) {
      // Bits where the row changes between 0 and 1: starts and ends of runs in turn.
      uint64_t changes = bits[w] ^ (bits[w] << 1 | last);
      last = bits[w] >> 63;
      while (changes != 0) {
        const int32_t x = w * 64 + __builtin_ctzll(changes);
        changes &= changes - 1;
        if (open_at < 0) {
          open_at = x;
        } else {
          runs_.push_back({open_at, x});
          open_at = -1;
        }
      }
    }
    if (open_at >= 0) runs_.push_back({open_at, mask.width()});
    row_start_.push_back(static_cast<int32_t>(runs_.size()));
  }
}

int32_t Components::root_of(int32_t run) {
  while (parent_[run] != run) {
    parent_[run] = parent_[parent_[run]];  // halve the path
    run = parent_[run];
  }
  return run;
}

// The earlier root wins, so that a root is its component's first run.
void Components::join(int32_t a, int32_t b) {
  a = root_of(a);
  b = root_of(b);
  if (a < b) {
    parent_[b] = a;
  } else {
    parent_[a] = b;
  }
}

// Two runs of neighbouring rows touch, corners included, if neither ends before the other begins.
void Components::join_rows(int32_t y) {
  int32_t above = row_start_[y - 1];
  int32_t here = row_start_[y];
  const int32_t above_end = row_start_[y], here_end = row_start_[y + 1];
  while (above < above_end && here < here_end) {
    if (runs_[above].begin <= runs_[here].end && runs_[here].begin <= runs_[above].end) join(above, here);
    // The run that ends first cannot touch anything further right, except that equal ends need only one step.
    if (runs_[above].end < runs_[here].end) {
      ++above;
    } else {
      ++here;
    }
  }
}

// Roots come first in raster order, so every parent is numbered before its children ask for it.
void Components::number_roots() {
  count_ = 0;
  for (std::size_t i = 0; i < parent_.size(); ++i) {
    const int32_t parent = parent_[i];
    parent_[i] = parent == static_cast<int32_t>(i) ? count_++ : parent_[parent];
  }
}

const std::vector<int32_t>& Components::measure_areas() {
  areas_.assign(count_, 0);
  for_each_run([&](int32_t, const Run& run, int32_t component) { areas_[component] += run.end - run.begin; });
  return areas_;
}

void Components::clear_flagged(BitMask& mask) const {
  for_each_run([&](int32_t y, const Run& run, int32_t component) {
    if (flagged_[component]) mask.clear_run(y, run.begin, run.end);
  });
}

void Components::clear_border(BitMask& mask) {
  flagged_.assign(count_, 0);
  for_each_run([&](int32_t y, const Run& run, int32_t component) {
    const bool touches = y == 0 || y == mask.height() - 1 || run.begin == 0 || run.end == mask.width();
    flagged_[component] |= touches;
  });
  clear_flagged(mask);
}

void Components::clear_boxes(BitMask& mask, int64_t min_area) const {
  std::vector<Box> boxes(count_, Box{mask.height(), 0, mask.width(), 0});
  for_each_run([&](int32_t y, const Run& run, int32_t component) {
    Box& box = boxes[component];
    box = {min_of(box.top, y), max_of(box.bottom, y + 1), min_of(box.left, run.begin),
           max_of(box.right, run.end)};
  });
  for (int32_t component = 0; component < count_; ++component) {
    if (areas_[component] >= min_area) continue;
    const Box& box = boxes[component];
    for (int32_t y = box.top; y < box.bottom; ++y) mask.clear_run(y, box.left, box.right);
  }
}

void Components::remove_small(BitMask& mask, int64_t min_area, bool bounding_box) {
  measure_areas();
  if (bounding_box) {
    clear_boxes(mask, min_area);
    return;
  }
  flagged_.assign(count_, 0);
  for (int32_t component = 0; component < count_; ++component)
    flagged_[component] = areas_[component] < min_area;
  clear_flagged(mask);
}

}  // namespace cpu
}  // namespace anatpaste
