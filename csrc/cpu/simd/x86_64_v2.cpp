// The kernels for CPUs of level x86-64-v2.
#include "cpu/simd/target.h"

#if ANATPASTE_X86_64
#define ANATPASTE_SIMD 2
#define ANATPASTE_LEVEL "x86-64-v2"
#define ANATPASTE_KERNELS kV2Kernels
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v2")
#include "cpu/simd/level.h"
#pragma GCC pop_options
#endif
