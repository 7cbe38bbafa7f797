#include "cpu/components.h"

#include <algorithm>

namespace anatpaste {
namespace cpu {

namespace {

int32_t root_of(int32_t* parent, int32_t part) {
  while (parent[part] != part) {
    parent[part] = parent[parent[part]];  // halve the path
    part = parent[part];
  }
  return part;
}

// Joins two parts and returns the root of both: the earlier one, so that a root
// is its component's first part.
int32_t join(int32_t* parent, int32_t a, int32_t b) {
  a = root_of(parent, a);
  b = root_of(parent, b);
  const int32_t root = min_of(a, b);
  parent[max_of(a, b)] = root;
  return root;
}

}  // namespace

void Components::find(const BitMask& mask) {
  const auto most_in_row = static_cast<std::size_t>(mask.width() / 2 + 1 + kRunsAhead);
  touched_.resize(most_in_row);
  row_start_.assign(mask.height() + 1, 0);
  part_count_ = 0;
  for (int32_t y = 0; y < mask.height(); ++y) {
    const auto first = static_cast<std::size_t>(row_start_[y]);
    runs_.grow(first + most_in_row, first);
    part_.grow(first + most_in_row, first);
    parent_.grow(part_count_ + most_in_row, part_count_);
    // Above the first row the mask has zeros.
    const int32_t found =
        kernels().collect_runs(mask.row(y), mask.row(y - 1), mask.stride(), &runs_[first], touched_.data());
    row_start_[y + 1] = row_start_[y] + found;
    join_row(y);
  }
  number_roots();
}

// A run belongs to the part of the first run it touches, or begins a new one. Only if it touches others of
// another part do roots have to be looked for.
void Components::join_row(int32_t y) {
  const int32_t first = row_start_[y], count = row_start_[y + 1] - first;
  const Range* touched = touched_.data();
  int32_t* part = &part_[first];
  const int32_t* above = &part_[y > 0 ? row_start_[y - 1] : 0];
  int32_t* parent = parent_.data();
  int32_t parts = part_count_;
  for (int32_t i = 0; i < count; ++i) {
    const int32_t begin = touched[i].begin, end = touched[i].end;
    const bool is_new = begin == end;
    parent[parts] = parts;
    int32_t own = is_new ? parts : above[begin];
    parts += is_new;
    for (int32_t other = begin + 1; other < end; ++other) {
      if (above[other] != own) own = join(parent, own, above[other]);
    }
    part[i] = own;
  }
  part_count_ = parts;
}

// Roots come first in raster order, so every parent is numbered before its children ask for it.
void Components::number_roots() {
  int32_t* parent = parent_.data();
  int32_t count = 0;
  for (int32_t part = 0; part < part_count_; ++part) {
    // Without a branch: which parts are roots cannot be predicted.
    const bool is_root = parent[part] == part;
    parent[part] = is_root ? count : parent[parent[part]];
    count += is_root;
  }
  count_ = count;
}

const std::vector<int32_t>& Components::measure_areas() {
  areas_.assign(count_, 0);
  if (count_ == 0) return areas_;
  // Neighbouring runs are often of one part: their sum waits in a register until they are not.
  int32_t current = 0, area = 0;
  for (int32_t run = 0; run < row_start_.back(); ++run) {
    if (part_[run] != current) {
      areas_[parent_[current]] += area;
      current = part_[run];
      area = 0;
    }
    area += runs_[run].end - runs_[run].begin;
  }
  areas_[parent_[current]] += area;
  return areas_;
}

void Components::write_labels(int32_t* labels, int32_t width) const {
  const auto last = static_cast<int32_t>(row_start_.size()) - 2;
  for (int32_t y = 0; y < last; ++y, labels += width) {
    const int32_t first = row_start_[y], count = row_start_[y + 1] - first;
    kernels().write_labels(&runs_[first], &part_[first], parent_.data(), count, width, labels);
  }
  // Past the last row another thread may be writing.
  std::fill(labels, labels + width, 0);
  for (int32_t i = row_start_[last]; i < row_start_[last + 1]; ++i)
    std::fill(labels + runs_[i].begin, labels + runs_[i].end, parent_[part_[i]] + 1);
}

void Components::clear_flagged(BitMask& mask) const {
  for_each_run([&](int32_t y, const Run& run, int32_t component) {
    if (flagged_[component]) mask.clear_run(y, run.begin, run.end);
  });
}

// All runs of the outermost rows, and of the others the first and the last run.
void Components::flag_border(const BitMask& mask) {
  flagged_.assign(count_, 0);
  const auto flag = [&](int32_t run) { flagged_[parent_[part_[run]]] = 1; };
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
