// Whether the levels above the baseline are compiled: by GCC, for x86-64. The headers here are those that
// level.h needs, read before a target is set.
#pragma once

#include <cstring>

#include "cpu/simd/kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define ANATPASTE_X86_64 1
#else
#define ANATPASTE_X86_64 0
#endif
