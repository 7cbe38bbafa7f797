"""The CPU kernels of every level of the instruction set against their definitions."""

from __future__ import annotations

import ctypes
import itertools
import platform
import shutil
import subprocess

import numpy as np
import pytest

from dev import REPOSITORY, build_flags

CSRC = REPOSITORY / "csrc"
#: File of csrc/cpu/simd, its table, and what tells whether this CPU has the level.
LEVELS = {
    "baseline": ("kBaselineKernels", "1"),
    "x86_64_v2": ("kV2Kernels", '__builtin_cpu_supports("x86-64-v2")'),
    "x86_64_v3": ("kV3Kernels", '__builtin_cpu_supports("x86-64-v3")'),
    "x86_64_v4": ("kV4Kernels", '__builtin_cpu_supports("x86-64-v4")'),
}
SOURCE = """
#include <vector>
#include "common/otsu.h"
#include "cpu/simd/FILE.cpp"
using namespace anatpaste;
extern "C" {
int supported() { return SUPPORTED; }
// Level and range of the first bin that is not the quotient's, as level * 2^16 + range; -1 if all are.
int first_wrong_otsu_bin(int first_range, int last_range, int low) {
  std::vector<int16_t> levels(last_range + 1);
  std::vector<uint8_t> bins(last_range + 1);
  for (int i = 0; i <= last_range; ++i) levels[i] = static_cast<int16_t>(low + i);
  for (int range = first_range; range <= last_range; ++range) {
    cpu::TABLE.otsu_bins(levels.data(), range + 1, low, low + range, bins.data());
    int bin = 0, rest = 0;  // of 256 * value / range
    for (int value = 0; value <= range; ++value) {
      if (bins[value] != (bin < 255 ? bin : 255)) return value << 16 | range;
      for (rest += 256; rest >= range; rest -= range) ++bin;
    }
  }
  return -1;
}
// Whether every byte comes out as the definition has it, written beside or over what is read.
int jitters(float slope, float offset, int count) {
  const Jitter jitter = {slope, offset};
  std::vector<uint8_t> in(count), out(count);
  for (int i = 0; i < count; ++i) in[i] = static_cast<uint8_t>(i);
  cpu::TABLE.jitter8(in.data(), count, jitter, out.data());
  cpu::TABLE.jitter8(in.data(), count, jitter, in.data());
  for (int i = 0; i < count; ++i) {
    const uint8_t expected = from_float<uint8_t>(jittered<uint8_t>(jitter, static_cast<float>(i & 255)));
    if (out[i] != expected || in[i] != expected) return 0;
  }
  return 1;
}
uint64_t sum(const uint8_t* values, int count) { return cpu::TABLE.sum8(values, count); }
}
"""


@pytest.fixture(scope="module", params=LEVELS)
def level(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if platform.machine() != "x86_64" or shutil.which("g++") is None:
        pytest.skip("levels are those of x86-64, compiled by g++")
    table, supported = LEVELS[request.param]
    source = tmp_path_factory.mktemp(request.param) / "kernels.cpp"
    library = source.with_suffix(".so")
    text = SOURCE.replace("FILE", request.param).replace("TABLE", table).replace("SUPPORTED", supported)
    source.write_text(text)
    flags = [*build_flags.HOST, "-fvisibility=default", f"-I{CSRC}"]
    subprocess.run(["g++", *flags, "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    kernels = ctypes.CDLL(str(library))
    if not kernels.supported():
        pytest.skip(f"this CPU lacks {request.param}")
    kernels.jitters.argtypes = [ctypes.c_float, ctypes.c_float, ctypes.c_int]
    kernels.sum.restype = ctypes.c_uint64
    return kernels


def test_otsu_bins_of_every_range_of_clahe_levels(level: ctypes.CDLL) -> None:
    assert level.first_wrong_otsu_bin(1, 16383, 0) == -1


@pytest.mark.parametrize("low", [-32768, -100, 31])
def test_otsu_bins_of_other_levels(level: ctypes.CDLL, low: int) -> None:
    assert level.first_wrong_otsu_bin(1, 300, low) == -1
    assert level.first_wrong_otsu_bin(16380, 16390, low) == -1
    assert level.first_wrong_otsu_bin(32767 - max(low, 0), 32767 - max(low, 0), low) == -1


def test_bytes_are_jittered_as_defined(level: ctypes.CDLL) -> None:
    """Factors within and far beyond those that are drawn; few pixels and many, which go other ways."""
    drawn = np.random.default_rng(0).uniform([0.81, -28], [1.21, 28], (300, 2)).tolist()
    edges = itertools.product(
        (0.0, 0.25, 0.5, 0.9, 1.0, 1.0000001, 3.9999998, 4.0, 30.0, -1.0),
        (-1000.0, -999.9, -25.5, -0.5, 0.0, 0.49999997, 0.5, 13.7, 999.9, 1000.0),
    )
    for slope, offset in (*drawn, *edges):
        for count in (3, 255, 2048, 5003):
            assert level.jitters(slope, offset, count), (slope, offset, count)


def test_sums_of_bytes(level: ctypes.CDLL) -> None:
    for count in (0, 1, 15, 16, 31, 63, 64, 4096, 8192, 8193, 100_003):
        for values in (np.full(count, 255, np.uint8), np.arange(count).astype(np.uint8)):
            assert level.sum(values.ctypes.data_as(ctypes.c_void_p), count) == values.sum(dtype=np.uint64)
