#include "cpu/components.h"

#include <numeric>

namespace anatpaste {
namespace cpu {

namespace {

int32_t root_of(int32_t* parent, int32_t run) {
  while (parent[run] != run) {
    parent[run] = parent[parent[run]];  // halve the path
    run = parent[run];
  }
  return run;
}

// The earlier root wins, so that a root is its component's first run.
void join(int32_t* parent, int32_t a, int32_t b) {
  a = root_of(parent, a);
  b = root_of(parent, b);
  parent[max_of(a, b)] = min_of(a, b);
}

}  // namespace

void Components::find(const BitMask& mask) {
  collect_runs(mask);
  parent_.resize(row_start_.back());
  std::iota(parent_.begin(), parent_.end(), 0);
  for (int32_t y = 1; y < mask.height(); ++y) join_rows(y);
  number_roots();
}

void Components::collect_runs(const BitMask& mask) {
  const auto most_in_row = static_cast<std::size_t>(mask.width() / 2 + 1 + kRunsAhead);
  std::size_t count = 0;
  row_start_.resize(mask.height() + 1);
  for (int32_t y = 0; y < mask.height(); ++y) {
    if (runs_.size() < count + most_in_row) runs_.resize(2 * runs_.size() + most_in_row);
    row_start_[y] = static_cast<int32_t>(count);
    count += kernels().collect_runs(mask.row(y), mask.stride(), &runs_[count]);
  }
  row_start_[mask.height()] = static_cast<int32_t>(count);
}

// Two runs of neighbouring rows touch, corners included, if neither ends before the other begins.
void Components::join_rows(int32_t y) {
  const Run* runs = runs_.data();
  int32_t* parent = parent_.data();
  int32_t above = row_start_[y - 1], here = row_start_[y];
  const int32_t above_end = row_start_[y], here_end = row_start_[y + 1];
  while (above < above_end && here < here_end) {
    const Run upper = runs[above], lower = runs[here];
    if (upper.begin <= lower.end && lower.begin <= upper.end) join(parent, above, here);
    // The run that ends first cannot touch anything further right, except that equal ends need only one step.
    // Without a branch: which one it is cannot be predicted.
    const int32_t step = upper.end < lower.end;
    above += step;
    here += 1 - step;
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

// All runs of the outermost rows, and of the others the first and the last run.
void Components::flag_border(const BitMask& mask) {
  flagged_.assign(count_, 0);
  const auto flag = [&](int32_t run) { flagged_[parent_[run]] = 1; };
  const int32_t bottom = mask.height() - 1;
  for (int32_t i = row_start_[0]; i < row_start_[1]; ++i) flag(i);
  for (int32_t i = row_start_[bottom]; i < row_start_[bottom + 1]; ++i) flag(i);
  for (int32_t y = 1; y < bottom; ++y) {
    const int32_t first = row_start_[y], last = row_start_[y + 1] - 1;
    if (first > last) continue;
    if (runs_[first].begin == 0) flag(first);
    if (runs_[last].end == mask.width()) flag(last);
  }
}

void Components::clear_border(BitMask& mask) {
  flag_border(mask);
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
