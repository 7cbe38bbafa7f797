"""csrc/common, compiled alone by the host compiler: known answers, and float16 over all of its values."""

from __future__ import annotations

import ctypes
import shutil
import subprocess

import numpy as np
import pytest
from scipy.special import ndtr

from dev import REPOSITORY, build_flags

from .references.augmentation import figure_raster, philox4x32_10

CSRC = REPOSITORY / "csrc"
SOURCE = """
#include "common/blend.h"
#include "common/clahe.h"
#include "common/draw.h"
#include "common/figure_blur.h"
#include "common/otsu.h"
#include "common/rotation.h"
using namespace anatpaste;
extern "C" {
void philox(const uint32_t* c, const uint32_t* k, uint32_t* out) {
  const Philox4 r = philox4x32_10({c[0], c[1], c[2], c[3]}, k[0], k[1]);
  out[0] = r.x; out[1] = r.y; out[2] = r.z; out[3] = r.w;
}
void exponential(const float* x, int n, float* out) {
  for (int i = 0; i < n; ++i) out[i] = exp_exact(x[i]);
}
void turns(const float* degrees, int n, int32_t* cosines_and_sines) {
  for (int i = 0; i < n; ++i) {
    const Turn turn = turn_of(degrees[i]);
    cosines_and_sines[2 * i] = turn.cosine;
    cosines_and_sines[2 * i + 1] = turn.sine;
  }
}
void half_cdf(const float* x, int n, float* out) {
  for (int i = 0; i < n; ++i) out[i] = half_normal_cdf(x[i]);
}
void half_to(const uint16_t* x, int n, float* out) {
  for (int i = 0; i < n; ++i) out[i] = half_to_float(x[i]);
}
void to_half(const float* x, int n, uint16_t* out) {
  for (int i = 0; i < n; ++i) out[i] = float_to_half(x[i]);
}
void to_bfloat(const float* x, int n, uint16_t* out) {
  for (int i = 0; i < n; ++i) out[i] = float_to_bfloat(x[i]);
}
// Level and range of the first bin that is not the quotient's, as level * 2^14 + range; -1 if all are.
int first_wrong_otsu_bin() {
  for (int range = 1; range <= 16383; ++range) {
    const float factor = otsu_factor(0, range);
    int bin = 0, rest = 0;  // of 256 * value / range
    for (int value = 0; value <= range; ++value) {
      if (otsu_bin(value, 0, factor) != (bin < 255 ? bin : 255)) return value << 14 | range;
      for (rest += 256; rest >= range; rest -= range) ++bin;
    }
  }
  return -1;
}
// Likewise for CLAHE's bins of bytes.
int first_wrong_byte_bin() {
  for (int range = 1; range <= 255; ++range) {
    const float factor = byte_bin_factor(0, range);
    for (int byte = 0; byte <= range; ++byte) {
      const int bin = level_bin(level_of(257 * byte, 0, 257 * range));
      if (byte_bin(byte, factor) != bin) return byte << 14 | range;
    }
  }
  return -1;
}
int chord(int kind, int b, int a, int dy) { return half_chord(kind, b, a, dy); }
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    folder = tmp_path_factory.mktemp("common")
    (folder / "common.cpp").write_text(SOURCE)
    command = [
        compiler,
        "-O2",
        build_flags.STANDARD,
        build_flags.HOST_UNFUSED,
        "-shared",
        "-fPIC",
        f"-I{CSRC}",
    ]
    subprocess.run([*command, str(folder / "common.cpp"), "-o", str(folder / "common.so")], check=True)
    return ctypes.CDLL(str(folder / "common.so"))


def apply(function: ctypes._CFuncPtr, values: np.ndarray, dtype: type) -> np.ndarray:
    values = np.ascontiguousarray(values)
    out = np.empty(values.shape, dtype)
    function(values.ctypes.data_as(ctypes.c_void_p), values.size, out.ctypes.data_as(ctypes.c_void_p))
    return out


# The three vectors that the authors of Philox publish with Random123 (kat_vectors, philox4x32 10).
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_philox_known_answers(library, counter, key, expected):
    assert philox4x32_10(counter, key) == expected
    out = (ctypes.c_uint32 * 4)()
    library.philox((ctypes.c_uint32 * 4)(*counter), (ctypes.c_uint32 * 2)(*key), out)
    assert tuple(out) == expected


def test_exponential_is_within_two_ulp(library):
    x = np.linspace(-80, 80, 200_001, dtype=np.float32)
    ours, exact = apply(library.exponential, x, np.float32), np.exp(x.astype(np.float64))
    assert np.max(np.abs(ours - exact) / np.spacing(exact.astype(np.float32))) < 2


def test_turns_are_rounded_from_cosine_and_sine(library):
    degrees = np.linspace(-180, 180, 360_001, dtype=np.float32)
    turns = np.empty((degrees.size, 2), np.int32)
    pointers = (array.ctypes.data_as(ctypes.c_void_p) for array in (degrees, turns))
    library.turns(next(pointers), degrees.size, next(pointers))
    angles = np.radians(degrees.astype(np.float64))
    exact = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # Half a unit, and 6e-7 of 65536 of them for float32's sums.
    assert np.abs(turns - 65536 * exact).max() < 0.54
    for angle, turn in ((0, [65536, 0]), (90, [0, 65536]), (-90, [0, -65536]), (180, [-65536, 0])):
        assert turns[np.flatnonzero(degrees == angle)[0]].tolist() == turn


def test_normal_distribution_function(library):
    x = np.linspace(0, 8, 100_001, dtype=np.float32)
    # 1.5e-7 is the formula's error in erf, half of that in Phi; float32 rounding adds twice that.
    assert np.max(np.abs(apply(library.half_cdf, x, np.float32) - (ndtr(x.astype(float)) - 0.5))) < 2.5e-7


def test_float16_over_all_values(library):
    bits = np.arange(2**16, dtype=np.uint16)
    expected = bits.view(np.float16).astype(np.float32)
    ours = apply(library.half_to, bits, np.float32)
    assert np.array_equal(ours, expected, equal_nan=True)
    unit = np.sort(expected[(expected >= 0) & (expected <= 1)])
    between = ((unit[:-1] + unit[1:]) / 2).astype(np.float32)  # ties
    values = np.abs(np.concatenate([unit, between, np.nextafter(between, 0), np.nextafter(between, 1)]))
    assert np.array_equal(
        apply(library.to_half, values, np.uint16), values.astype(np.float16).view(np.uint16)
    )


def test_bfloat16_rounds_to_nearest_even(library):
    import torch

    values = np.random.default_rng(0).random(100_000, dtype=np.float32)
    expected = torch.from_numpy(values).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    assert np.array_equal(apply(library.to_bfloat, values, np.uint16), expected)


def test_ellipse_chords_are_those_of_the_integer_predicate(library):
    for half_h in range(0, 40, 3):
        for half_w in range(0, 64, 5):
            raster = figure_raster(1, half_h, half_w)
            for dy in range(-half_h, half_h + 1):
                chord = library.chord(1, half_h, half_w, abs(dy))
                assert raster[dy + half_h].sum() == 2 * chord + 1, (half_h, half_w, dy)


def test_chord_of_a_huge_ellipse(library):
    half_h, half_w = 8000, 16000
    for dy in (0, 1, 4000, 7999, 8000):
        height, width = 2 * half_h + 1, 2 * half_w + 1
        chord = library.chord(1, half_h, half_w, dy)
        inside = [
            4 * (x**2 * height**2 + dy**2 * width**2) <= width**2 * height**2 for x in (chord, chord + 1)
        ]
        assert inside == [True, False]


def test_bins_of_bytes_are_those_of_their_levels_for_every_range(library):
    assert library.first_wrong_byte_bin() == -1


def test_otsu_bins_are_the_integer_quotients_for_every_range_of_levels(library):
    assert library.first_wrong_otsu_bin() == -1
