"""The compilers' flags, for setup.py and for everything that looks at the code it ships.

Imports nothing, so that a build can read it before torch is there.
"""

STANDARD = "-std=c++17"
#: The oldest torch whose stable ABI the binaries rely on: 2.10.
STABLE_ABI = "-DTORCH_TARGET_VERSION=0x020a000000000000"
#: Masks and drawn parameters are equal bit for bit between backends only if no compiler fuses a * b + c.
HOST_UNFUSED, DEVICE_UNFUSED = "-ffp-contract=off", "--fmad=false"

#: What launchers and device code are compiled with besides.
CUDA_DEFINES = ["-DUSE_CUDA"]
#: Nobody reads the flags that comparisons of floats may raise, for whose sake loops would not be vectorised.
UNTRAPPED = "-fno-trapping-math"
#: For g++.
HOST = ["-O3", STANDARD, HOST_UNFUSED, UNTRAPPED, "-fvisibility=hidden", "-Wall", STABLE_ABI]
#: For nvcc, on device code alone: no definition changes an instruction of it.
DEVICE_CODE = ["-O3", STANDARD, DEVICE_UNFUSED]
#: For nvcc, on whole files: launchers use torch.
DEVICE = [*DEVICE_CODE, STABLE_ABI, *CUDA_DEFINES]
