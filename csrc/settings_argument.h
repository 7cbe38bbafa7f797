// From an operator's argument `float[] settings` to the struct that common/settings.h makes of it.
#pragma once

#include <torch/headeronly/util/Exception.h>

#include <vector>

#include "common/settings.h"

namespace anatpaste {

template <typename Settings>
Settings settings_of(const std::vector<double>& values) {
  STD_TORCH_CHECK(values.size() == Settings::kCount, "settings must hold ", Settings::kCount,
                  " numbers (anatpaste_gpu/operator_settings.py), got ", values.size());
  return Settings::parse(values.data());
}

}  // namespace anatpaste
