"""The SIMT executor itself: each detector finds its planted bug, the bug's correct twin passes everywhere."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from dev import REPOSITORY, simt

pytestmark = pytest.mark.skipif(not simt.available(), reason="the SIMT executor needs Linux and g++")

ROWS = torch.randint(0, 100, (6, 96), dtype=torch.int32, generator=torch.Generator().manual_seed(5))
SCHEDULES = [("forward", 0, 1), ("reverse", 0, 1), ("forward", 0, 4), ("random", 1, 4), ("random", 2, 3)]


def rolled(distance: int) -> np.ndarray:
    return np.roll(ROWS.numpy(), -distance, axis=1)


def expected(name: str) -> np.ndarray:
    """What the correct twin computes, written down once more in NumPy."""
    rows = ROWS.numpy()
    lane = np.arange(96)
    warps = rows.reshape(6, 3, 32)
    flat = rows.reshape(-1)
    table = {
        "block_sum": lambda: rows.sum(1, keepdims=True),
        "histogram": lambda: np.stack([np.bincount(r & 15, minlength=16) for r in rows]),
        "reverse": lambda: np.concatenate([rows[:, 69::-1], np.zeros((6, 26))], axis=1),
        "shift_shared": lambda: np.where(lane < 95, rolled(1), 0),
        "shift_dynamic": lambda: np.where(lane > 0, rolled(-1), 0),
        "shift_global": lambda: (flat + np.append(flat[1:], 0)).reshape(6, 96),
        "exchange": lambda: rolled(2),
        "warp_exchange": lambda: rows[:, lane ^ 1],
        "banks": lambda: rows[:, lane ^ 1],
        "prefix": lambda: warps.cumsum(2).reshape(6, 96),
        "half_sum": lambda: rows.reshape(6, 6, 16).sum(2).repeat(16, axis=1),
        "divergent": lambda: rows + 1,
        "grid_sum": lambda: rows.sum(keepdims=True).reshape(1),
        "peek_max": lambda: rows.max(1, keepdims=True),
        "bytes": lambda: rows.astype(np.uint8).view(np.int32)[:, lane // 4],
        "broadcast": lambda: rows[:, :1].repeat(96, axis=1),
        "half_exchange": lambda: rows[:, lane ^ 8],
    }
    return table.get(name, lambda: rows)()


PLANTED = [
    "block_sum", "histogram", "reverse", "shift_shared", "shift_dynamic", "shift_global", "exchange",
    "warp_exchange", "prefix", "half_sum", "divergent", "grid_sum", "peek_max", "bytes", "broadcast",
    "half_exchange", "copy16", "window", "read_only", "spin", "banks", "gather",
]  # fmt: skip


def run(name: str, broken: bool, variant: str = "plain") -> np.ndarray:
    return simt.op(f"planted_{name}", variant, "planted")(ROWS, broken).numpy()


def failure(name: str, variant: str = "plain") -> str:
    with pytest.raises(RuntimeError) as caught:
        run(name, True, variant)
    return str(caught.value)


@pytest.mark.parametrize(
    "variant", ["plain", *(pytest.param(one, marks=pytest.mark.slow) for one in ("race", "count"))]
)
@pytest.mark.parametrize(("mode", "seed", "resident"), SCHEDULES)
def test_correct_twins_pass_in_every_mode(variant: str, mode: str, seed: int, resident: int) -> None:
    with simt.schedule(mode, seed, resident, variant):
        for name in PLANTED:
            np.testing.assert_array_equal(run(name, False, variant), expected(name), err_msg=name)


# The bugs that break a rule of CUDA's: found in every build and schedule, at the line of the call.
RULES = {
    "reverse": r"returned before the barrier at .*planted\.cuh:\d+|"
    r"waits at the barrier at .*, but thread .* has returned",
    "prefix": r"shfl_up at .*planted\.cuh:\d+: mask 0xffffffff names lanes that have returned|"
    r"returned, but the mask of the collective at .*planted\.cuh:\d+ names this lane",
    "half_sum": r"reduce at .*planted\.cuh:\d+: bad mask 0x0000ffff: it does not name the calling lane",
    "divergent": r"divergent barrier: at .*planted\.cuh:\d+, while thread .* waits at .*planted\.cuh:\d+",
    "copy16": r"load16 at .*planted\.cuh:\d+: address .* is not aligned to 16 bytes",
    "window": r"dynamic_shared at .*planted\.cuh:\d+: bytes 0 to 388 are out of range, the launch asked for",
}


@pytest.mark.parametrize("variant", ["plain", "race"])
@pytest.mark.parametrize(("mode", "seed", "resident"), SCHEDULES)
def test_broken_rules_are_errors_in_every_schedule(variant: str, mode: str, seed: int, resident: int) -> None:
    with simt.schedule(mode, seed, resident, variant):
        for name, pattern in RULES.items():
            assert re.search(pattern, failure(name, variant)), name


RACES = {
    "block_sum": r"data race on shared array 'cells', byte \d+",
    "histogram": r"data race on shared array 'bins'",
    "exchange": r"data race on shared array 'cells'",
    "warp_exchange": r"data race on shared array 'cells'",
    "half_exchange": r"data race on shared array 'cells'",
    "grid_sum": r"data race on global memory, byte 0 of a tensor",
    "peek_max": r"data race on shared array 'best'",
    "bytes": r"data race on shared array 'cells'",
    "broadcast": r"data race on shared array 'cell', byte 0",
}


@pytest.mark.parametrize(("mode", "seed", "resident"), SCHEDULES)
def test_the_race_build_finds_every_race_in_every_schedule(mode: str, seed: int, resident: int) -> None:
    with simt.schedule(mode, seed, resident, "race"):
        for name, pattern in RACES.items():
            message = failure(name, "race")
            assert re.search(pattern, message), message
            places = re.findall(r"csrc/simt/planted/planted\.cuh:\d+", message)
            assert len(places) == 2, f"{name}: both accesses' lines should be named: {message}"


def test_a_race_that_no_schedule_shows_is_found() -> None:
    # `bins[b] += 1` has no point at which the executor changes threads: every schedule counts right.
    for mode, seed, resident in SCHEDULES:
        with simt.schedule(mode, seed, resident):
            np.testing.assert_array_equal(run("histogram", True), expected("histogram"))
    assert "data race" in failure("histogram", "race")


def test_the_race_report_tells_a_marked_access_from_a_plain_one() -> None:
    assert re.search(
        r"not ordered after the marked write at|atomic write at .* not ordered", failure("peek_max", "race")
    )


def test_a_missing_barrier_shows_in_the_plain_build_as_poison() -> None:
    # Forward, thread 0 sums before any other has written: 95 cells still hold 0xA5A5A5A5.
    poison = np.int64(np.uint32(0xA5A5A5A5).astype(np.int32))
    want = (ROWS.numpy()[:, :1].astype(np.int64) + 95 * poison).astype(np.int32)
    np.testing.assert_array_equal(run("block_sum", True), want)


def test_accesses_outside_registered_memory() -> None:
    inside = "outside every shared array (0 bytes after the end of shared array 'cells')"
    assert inside in failure("shift_shared", "race")
    assert "0 bytes after the end of shared array 'dynamic shared memory'" in failure("shift_dynamic", "race")
    message = failure("shift_global", "race")
    assert "memory that no launcher registered (0 bytes after the end of a tensor of 2304 bytes)" in message
    assert "registered this tensor for reading only" in failure("read_only", "race")


def test_writes_beyond_shared_memory_are_found_even_without_instrumentation() -> None:
    assert "block (0, 0, 0) wrote outside shared array 'dynamic shared memory'" in failure("shift_dynamic")


def test_errors_name_kernel_block_thread_and_schedule() -> None:
    with simt.schedule("random", seed=77, resident_blocks=2):
        message = failure("half_sum")
    pattern = (
        r"kernel half_sum, block \(\d, 0, 0\), thread \(\d+, 0, 0\): .*"
        r"\[schedule random, seed 77, 2 resident blocks, launch 0\]"
    )
    assert re.search(pattern, message), message


def test_the_executor_works_on_after_an_error() -> None:
    for name in RULES:
        failure(name)
        np.testing.assert_array_equal(run(name, False), expected(name))


def test_a_seed_names_one_schedule() -> None:
    def outcome(seed: int) -> bytes:
        with simt.schedule("random", seed, 3):
            return run("exchange", True).tobytes()

    assert outcome(11) == outcome(11)
    assert len({outcome(seed) for seed in range(8)}) > 1


def test_a_launch_that_never_ends_is_an_error() -> None:
    with simt.device(timeout=0.3):
        assert "did not end within 0 s" in failure("spin")


def test_the_device_model_limits_shared_memory() -> None:
    with simt.device(max_shared_bytes=380):
        with pytest.raises(RuntimeError, match="384 bytes of dynamic shared memory, the device has 380"):
            run("window", False)
        with pytest.raises(RuntimeError, match=r"array 'cells' at .* brings the block to 384 bytes"):
            run("block_sum", False)


def vocabulary_row(v: np.ndarray, t: int, first_and_fourth: int) -> list[int]:
    """CUDA's definitions of the words of device.h, for thread t of a block that holds the values v."""
    lane, x = t % 32, int(v[t])
    warp = v[t - lane : t - lane + 32]
    half = warp[lane % 2 :: 2]
    wide = x << 35
    row = [
        v[63 - t],
        (v == 7).any(),
        (v < 1000).all(),
        (v % 2).sum(),
        0xAAAAAAAA,
        warp[3],
        warp[lane - 1] if lane >= 1 else x,
        warp[lane + 2] if lane + 2 < 32 else x,
        warp[lane ^ 5],
        (half == 9).any() + 2 * int((half > 2).all()),
        sum(1 << k for k in range(32) if warp[k] % 4 == x % 4),
        half.sum(),
        half.min(),
        (half.max() - 50) % 2**32,
        np.bitwise_or.reduce(half),
        np.bitwise_and.reduce(half),
        v.sum(),
        v.max(),
        77 + 77,
        5 + 3,
        (v.min() - 50) % 2**32,
        x.bit_count() + 100 * (x & -x).bit_length() + 10000 * (32 - x.bit_length()),
        int(f"{x:032b}"[::-1], 2),
        (0x80000001 << 1 | x >> 31) % 2**32,
        (0x80000001 << 27 | x >> 5) % 2**32,
        (x * 0x01000193 % 2**32) * 0xDEADBEEF >> 32,
        wide.bit_count() + 100 * (wide & -wide).bit_length() + 10000 * (64 - wide.bit_length()),
        int(f"{wide:064b}"[::-1], 2) % 2**32,
        np.float32(x).view(np.uint32),
        2**lane - 1 + 2 + t,
        first_and_fourth,
        # Thread 0 clears the low four bits at some time between the ORs: those are not compared.
        np.bitwise_or.reduce(v) & ~15,
    ]
    return [int(item) for item in row]


@pytest.mark.parametrize("variant", ["plain", "race"])
@pytest.mark.parametrize(("mode", "seed", "resident"), SCHEDULES)
def test_every_word_of_the_vocabulary(variant: str, mode: str, seed: int, resident: int) -> None:
    values = torch.randint(0, 1000, (128,), dtype=torch.int32, generator=torch.Generator().manual_seed(9))
    values[:8] = torch.tensor([0, 7, 9, 1, 999, 2, 3, 512])
    with simt.schedule(mode, seed, resident, variant):
        out, wide = simt.op("vocabulary", variant, "planted")(values)
    got = out.numpy().view(np.uint32).astype(np.uint64)
    got[:, 31] &= np.uint64(0xFFFFFFF0)  # see vocabulary_row
    v = values.numpy().astype(np.int64)
    want = np.array(
        [vocabulary_row(v[b : b + 64], t, v[0] + v[3]) for b in (0, 64) for t in range(64)], np.uint64
    )
    for word in range(32):
        np.testing.assert_array_equal(got[:, word], want[:, word], err_msg=f"row {word}")
    assert wide.item() == int(values.long().sum()) << 20


def counts_of(name: str, broken: bool) -> dict[str, int]:
    with simt.counted("planted") as counts:
        run(name, broken, "count")
    (launch,) = counts.launches
    assert launch["name"] == name
    return {**launch["total"], **{key: value for key, value in launch.items() if isinstance(value, int)}}


def test_counts_of_coalesced_and_scattered_loads() -> None:
    # 18 warps of 32 ints: 128 bytes, 4 sectors each; at a stride of 32 bytes every lane has its own sector.
    straight, scattered = counts_of("gather", False), counts_of("gather", True)
    assert straight["global_loads"] == scattered["global_loads"] == 18
    assert straight["global_load_bytes"] == scattered["global_load_bytes"] == 576 * 4
    assert straight["global_load_sectors"] == 18 * 4
    assert scattered["global_load_sectors"] == 18 * 32
    assert straight["load_footprint_bytes"] == straight["store_footprint_bytes"] == 576 * 4
    assert straight["global_store_sectors"] == 18 * 4


def test_counts_do_not_depend_on_where_a_cpu_tensor_starts() -> None:
    storage = torch.zeros(576 + 3, dtype=torch.int32)
    shifted = storage[3:].view(6, 96)  # 12 bytes off a sector's start; device memory never is
    with simt.counted("planted") as counts:
        simt.op("planted_gather", "count", "planted")(shifted, False)
    assert counts.launches[0]["total"]["global_load_sectors"] == 18 * 4
    assert counts.launches[0]["load_footprint_bytes"] == 576 * 4


def test_counts_of_wide_loads() -> None:
    # Every fourth lane moves 16 bytes: still 18 warp accesses of 4 sectors, in place of four times as many.
    counts = counts_of("copy16", False)
    assert (counts["global_loads"], counts["global_load_bytes"], counts["global_load_sectors"]) == (
        18,
        2304,
        72,
    )


def test_counts_of_bank_conflicts() -> None:
    # A stride of 32 words: each of 18 stores and 18 loads takes 31 passes more.
    assert counts_of("banks", False)["shared_conflicts"] == 0
    assert counts_of("banks", True)["shared_conflicts"] == 2 * 18 * 31


def test_counts_of_barriers_collectives_and_atomics() -> None:
    assert counts_of("exchange", False)["barriers"] == 6 * 5
    assert counts_of("prefix", False)["collectives"] == 18 * 5
    assert counts_of("warp_exchange", False)["warp_syncs"] == 18
    histogram = counts_of("histogram", False)
    bins = ROWS.numpy() & 15
    assert histogram["shared_atomics"] == 18
    assert histogram["shared_atomic_lanes"] == 576
    # Sixteen bins are sixteen banks, so a warp's steps are its fullest bin.
    assert histogram["shared_atomic_steps"] == sum(np.bincount(w).max() for w in bins.reshape(18, 32))
    assert histogram["hottest_shared_atomic"] == max(np.bincount(row).max() for row in bins)
    assert counts_of("grid_sum", False)["hottest_global_atomic"] == 18


def test_shared_memory_sizes_are_reported() -> None:
    assert counts_of("banks", False)["shared_bytes"] == 33 * 96 * 4
    assert counts_of("shift_dynamic", False)["dynamic_shared_bytes"] == 384


SANITIZED = textwrap.dedent(
    """
    import os, sys
    rows = torch.arange(576, dtype=torch.int32).reshape(6, 96).remainder(97)
    for mode in ("forward", "random"):
        with simt.schedule(mode, 3, 3, variant="asan"):
            for name in {names}:
                simt.op("planted_" + name, "asan", "planted")(rows, False)
    # A launch that ends in an error leaves fibres behind: their stacks must not trouble the next one.
    for name in ("reverse", "half_sum"):
        try:
            simt.op("planted_" + name, "asan", "planted")(rows, True)
        except RuntimeError as error:
            assert "[schedule" in str(error)
        else:
            raise AssertionError(name)
        simt.op("planted_" + name, "asan", "planted")(rows, False)
    print("twins clean", flush=True)
    for name in {bugs}:
        child = os.fork()
        if child == 0:
            simt.op("planted_" + name, "asan", "planted")(rows, True)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        print(name, os.waitstatus_to_exitcode(status), file=sys.stderr, flush=True)
    """
)


@pytest.mark.slow
def test_the_sanitizer_build_finds_accesses_out_of_bounds_and_passes_the_twins() -> None:
    bugs = ["shift_shared", "shift_dynamic", "shift_global"]
    done = simt.run_sanitized(SANITIZED.format(names=PLANTED, bugs=bugs), kernels="planted")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "twins clean" in done.stdout
    for bug in bugs:
        assert f"{bug} 99" in done.stderr, f"{bug} was not found"
    assert "index 96 out of bounds for type 'int [96]'" in done.stderr
    assert done.stderr.count("ERROR: AddressSanitizer: heap-buffer-overflow") == 2


PING_PONG = """
#include "fiber.h"
#include <cstdio>
using namespace anatpaste::simt;
static Fiber home, one, two;
static void first() { for (;;) { std::puts("one"); switch_fiber(one, two, false); } }
static void second() {
  for (int i = 0;; ++i) { std::puts("two"); switch_fiber(two, i == 1 ? home : one, false); }
}
int main() {
  StackPool pool;
  pool.reserve(2);
  pool.give(0, one);
  pool.give(1, two);
  prepare(one, first);
  prepare(two, second);
  switch_fiber(home, one, false);
  std::puts(stack_intact(one) && stack_intact(two) ? "home" : "damaged");
}
"""


@pytest.mark.parametrize("flags", [[], ["-DANATPASTE_SIMT_PORTABLE"]], ids=["assembly", "ucontext"])
def test_both_context_switches(flags: list[str], tmp_path: Path) -> None:
    folder = REPOSITORY / "csrc" / "simt"
    (tmp_path / "main.cpp").write_text(PING_PONG)
    command = [
        "g++",
        "-std=c++17",
        "-O1",
        *flags,
        f"-I{folder}",
        "main.cpp",
        str(folder / "fiber.cpp"),
        "-o",
        "a",
    ]
    subprocess.run(command, check=True, cwd=tmp_path)
    printed = subprocess.run(["./a"], capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert printed.split() == ["one", "two", "one", "two", "home"]


SOURCE = '#include "simt/planted/vocabulary.cuh"\n#include "simt/planted/planted.cuh"\n'


def instantiations() -> str:
    """Explicit instantiations of every planted kernel, so that the compilers cannot skip their bodies."""
    text = (REPOSITORY / "csrc" / "simt" / "planted" / "planted.cuh").read_text()
    lines = []
    for name, parameters in re.findall(r"(\w+_kernel)\(([^)]*)\)", text):
        types = ", ".join(re.sub(r" *\w+$", "", parameter) for parameter in parameters.split(", "))
        lines += [
            f"template __global__ void anatpaste::planted::{name}<{b}>({types});" for b in ("true", "false")
        ]
    assert len(lines) == 2 * (len(PLANTED) - 1)  # read_only is copy16's kernel with a launcher's bug
    return "\n".join(lines) + "\n"


def find_nvcc() -> str | None:
    found = shutil.which("nvcc")
    default = Path("/usr/local/cuda/bin/nvcc")
    return found or (str(default) if default.exists() else None)


@pytest.mark.skipif(find_nvcc() is None, reason="no nvcc on PATH or in /usr/local/cuda")
@pytest.mark.parametrize("architecture", ["sm_86", "sm_75"])
def test_nvcc_compiles_the_whole_vocabulary(architecture: str, tmp_path: Path) -> None:
    source = tmp_path / "all.cu"
    source.write_text(SOURCE + instantiations())
    command = [str(find_nvcc()), "-std=c++17", f"-arch={architecture}", f"-I{REPOSITORY}/csrc", "-cubin"]
    command += ["-Werror", "all-warnings", str(source), "-o", str(tmp_path / "all.cubin")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def find_nvrtc() -> Path | None:
    roots = [Path(entry) for entry in sys.path if entry]
    return next((path for root in roots for path in sorted(root.glob("nvidia/*/lib/libnvrtc.so.*"))), None)


@pytest.mark.skipif(find_nvrtc() is None, reason="no libnvrtc among the installed packages")
def test_nvrtc_compiles_the_whole_vocabulary_without_standard_headers() -> None:
    nvrtc = ctypes.CDLL(str(find_nvrtc()))
    program = ctypes.c_void_p()
    source = (SOURCE + instantiations()).encode()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, b"all.cu", 0, None, None) == 0
    options = [b"--std=c++17", b"--gpu-architecture=sm_86", f"--include-path={REPOSITORY}/csrc".encode()]
    status = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    assert status == 0, log.value.decode()
