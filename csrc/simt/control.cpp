// The executor's library as Python sees it: the operators' schemas in a namespace of
// its own, and a few C functions.
#include "control.h"

#include <torch/csrc/stable/library.h>

#include <cstring>
#include <string>

#include "../schemas.h"
#include "executor.h"

STABLE_TORCH_LIBRARY(ANATPASTE_LIBRARY, m) { anatpaste::define_operators(m); }

#define ANATPASTE_EXPORT extern "C" __attribute__((visibility("default")))

using namespace anatpaste::simt;

/// mode: 0 forward, 1 reverse, 2 random. Launches are numbered from 0 again.
ANATPASTE_EXPORT void simt_set_schedule(int mode, uint64_t seed, int resident_blocks) {
  set_schedule({static_cast<Mode>(mode), seed, resident_blocks < 1 ? 1 : resident_blocks});
}

/// What the kernels' host code is told of the device, and the time limit of a launch.
ANATPASTE_EXPORT void simt_set_device(int max_shared_bytes, int multiprocessors, double timeout_seconds) {
  device_model() = {max_shared_bytes, multiprocessors, timeout_seconds};
}

/// Counts since the last simt_reset_counters as JSON; valid until the next call. "[]" in builds that do not
/// count.
ANATPASTE_EXPORT const char* simt_counters() {
  static std::string text;
  text = counters_json();
  return text.c_str();
}

ANATPASTE_EXPORT void simt_reset_counters() { reset_counters(); }
