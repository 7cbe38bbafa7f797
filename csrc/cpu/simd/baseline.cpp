// The kernels as the compiler's own target has them: for every CPU of the architecture.
#include "cpu/simd/target.h"

#if ANATPASTE_X86_64
#define ANATPASTE_SIMD 1
#define ANATPASTE_LEVEL "x86-64"
#else
#define ANATPASTE_SIMD 0
#define ANATPASTE_LEVEL "baseline"
#endif
#define ANATPASTE_KERNELS kBaselineKernels
#include "cpu/simd/level.h"
