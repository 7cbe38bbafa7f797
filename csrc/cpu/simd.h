// ANATPASTE_CLONES: compile a plain function twice, for the baseline and for AVX2, and pick by the CPU at
// load time. Both give the same bits: contraction is off and every loop so marked is in integers or in
// element-wise IEEE operations.
#pragma once

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define ANATPASTE_CLONES __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define ANATPASTE_CLONES
#endif
