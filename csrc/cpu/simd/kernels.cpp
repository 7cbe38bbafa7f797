// Which level's kernels run.
#include "cpu/simd/kernels.h"

#include <torch/headeronly/util/Exception.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "cpu/simd/target.h"

namespace anatpaste {
namespace cpu {

extern const Kernels kBaselineKernels, kV2Kernels, kV3Kernels, kV4Kernels;

namespace {

const Kernels* const kNone = nullptr;

// From the highest level down.
const Kernels& choose() {
#if ANATPASTE_X86_64
  __builtin_cpu_init();
  const Kernels* const levels[] = {__builtin_cpu_supports("x86-64-v4") ? &kV4Kernels : kNone,
                                   __builtin_cpu_supports("x86-64-v3") ? &kV3Kernels : kNone,
                                   __builtin_cpu_supports("x86-64-v2") ? &kV2Kernels : kNone,
                                   &kBaselineKernels};
#else
  const Kernels* const levels[] = {&kBaselineKernels};
#endif
  const char* wanted = std::getenv("ANATPASTE_CPU_LEVEL");
  const bool any = wanted == nullptr || *wanted == '\0';
  std::string had;
  for (const Kernels* level : levels) {
    if (level == nullptr) continue;
    if (any || std::strcmp(wanted, level->level) == 0) return *level;
    had += (had.empty() ? "" : ", ") + std::string(level->level);
  }
  STD_TORCH_CHECK(false, "ANATPASTE_CPU_LEVEL must be a level of this CPU (", had, "), got ", wanted);
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

}  // namespace cpu
}  // namespace anatpaste
