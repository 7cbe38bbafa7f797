// The kernels for CPUs of level x86-64-v4.
#include "cpu/simd/target.h"

#if ANATPASTE_X86_64
#define ANATPASTE_SIMD 4
#define ANATPASTE_LEVEL "x86-64-v4"
#define ANATPASTE_KERNELS kV4Kernels
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4,prefer-vector-width=512")
#include "cpu/simd/level.h"
#pragma GCC pop_options
#endif
