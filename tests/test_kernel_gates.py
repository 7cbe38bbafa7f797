"""The static gates judge rightly: each limit trips on its own, loops are told apart, nothing is skipped."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from dev import kernel_gates as gates
from dev import sass, simt

PTXAS = """\
ptxas info    : Compiling entry function '_Z1fPi' for 'sm_86'
ptxas info    : Function properties for _Z1fPi
    16 bytes stack frame, 12 bytes spill stores, 24 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 16 bytes cumulative stack size, 16848 bytes smem
ptxas info    : Compiling entry function '_Z1gv' for 'sm_86'
ptxas info    : Function properties for _Z1gv
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 8 registers, used 0 barriers, 352 bytes cmem[0]
"""

# A double before the loop, one inside it, one after it; the branch to itself is the padding of every kernel.
SASS = """\
\t\tFunction : _Z1fPi
\t.headerflags\t@"EF_CUDA_SM86"
        /*0000*/                   DADD R2, R2, R4 ;                              /* 0x0000000002027229 */
                                                                                  /* 0x000fe20000000000 */
        /*0010*/                   LDG.E.128.CONSTANT R4, [R2.64] ;               /* 0x0000000402047981 */
        /*0020*/               @P0 DMUL R2, R2, R4 ;                              /* 0x0000000002027229 */
        /*0030*/                   STL [R1], R5 ;                                 /* 0x0000000002027229 */
        /*0040*/              @!P1 BRA 0x10 ;                                     /* 0xffffffc000007947 */
        /*0050*/                   STG.E.128 [R2.64], R4 ;                        /* 0x0000000402007986 */
        /*0060*/                   DFMA R2, R2, R4, R6 ;                          /* 0x0000000002027229 */
        /*0070*/                   EXIT ;                                         /* 0x000000000000794d */
        /*0080*/                   BRA 0x80;                                      /* 0xfffffff000007947 */
"""

FINE = gates.Kernel(
    name="void anatpaste::some_kernel<unsigned char>(int*)",
    registers=40,
    static_shared_bytes=1000,
    stack_bytes=0,
    spill_bytes=0,
    instructions=100,
    local=0,
    fp64=2,
    fp64_in_loops=0,
    wide_loads=1,
    wide_stores=1,
)
BUDGET = gates.Budget(
    threads=512,
    registers=40,
    static_shared_bytes=1000,
    dynamic_shared_bytes=4000,
    blocks_per_sm=3,
    wide_loads=True,
    wide_stores=True,
    fp64=2,
)


def test_ptxas_report_is_read_for_every_kernel() -> None:
    assert sass.parse_ptxas(PTXAS) == {
        "_Z1fPi": sass.Resources(64, 16848, 16, 36),
        "_Z1gv": sass.Resources(8, 0, 0, 0),
    }


def test_instructions_and_loops_are_told_apart() -> None:
    code = sass.parse_sass(SASS)["_Z1fPi"]
    assert [i.opcode for i in code] == [
        "DADD", "LDG.E.128.CONSTANT", "DMUL", "STL", "BRA", "STG.E.128", "DFMA", "EXIT", "BRA"
    ]  # fmt: skip
    assert sorted(i.address for i in sass.in_loops(code)) == [0x10, 0x20, 0x30, 0x40]


def test_a_kernel_is_described_by_its_code() -> None:
    kernel = gates.describe("_Z1fPi", "f(int*)", sass.Resources(64, 0, 0, 0), sass.parse_sass(SASS)["_Z1fPi"])
    assert (kernel.fp64, kernel.fp64_in_loops, kernel.local) == (3, 1, 1)
    assert (kernel.wide_loads, kernel.wide_stores) == (1, 1)


def test_a_kernel_within_its_budget_passes() -> None:
    assert gates.hold_against_budgets([dataclasses.replace(FINE)], {"some_kernel": BUDGET}) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"registers": 41}, "41 registers, budget 40"),
        ({"static_shared_bytes": 1001}, "1001 bytes of static shared memory, budget 1000"),
        ({"stack_bytes": 8}, "8 bytes of stack, budget 0"),
        ({"spill_bytes": 4}, "4 bytes of spills, budget 0"),
        ({"local": 1}, "1 local memory instructions, budget 0"),
        ({"fp64": 3}, "3 FP64 instructions, budget 2"),
        ({"fp64_in_loops": 1}, "1 FP64 instructions in loops, budget 0"),
        ({"wide_loads": 0}, "no 16-byte loads, though the design promises them"),
        ({"wide_stores": 0}, "no 16-byte stores, though the design promises them"),
    ],
)
def test_each_limit_trips_with_name_and_numbers(change: dict[str, int], sentence: str) -> None:
    kernel = dataclasses.replace(FINE, **change)
    budget = dataclasses.replace(
        BUDGET, blocks_per_sm=2
    )  # one more register costs a block, which is not the point
    failures = gates.hold_against_budgets([kernel], {"some_kernel": budget})
    assert failures == [f"anatpaste::some_kernel<unsigned char>: {sentence}."]


def test_too_few_blocks_an_sm_fail() -> None:
    assert gates.check(dataclasses.replace(FINE), BUDGET) == []  # three by registers: 65,536 / (40 * 512)
    failures = gates.check(dataclasses.replace(FINE, registers=33), dataclasses.replace(BUDGET, threads=768))
    assert failures == ["2 blocks an SM, budget 3"]
    shared = dataclasses.replace(BUDGET, dynamic_shared_bytes=50000)
    assert gates.check(dataclasses.replace(FINE), shared) == ["1 blocks an SM, budget 3"]


def test_kernels_without_budget_and_budgets_without_kernel_fail() -> None:
    failures = gates.hold_against_budgets([dataclasses.replace(FINE)], {"gone_kernel": BUDGET})
    assert failures == [
        "anatpaste::some_kernel<unsigned char>: it has no budget.",
        "gone_kernel: has a budget but is not compiled.",
    ]


def test_names_become_expressions_that_a_compiler_takes() -> None:
    name = "void anatpaste::k<(anatpaste::Blend)2, anatpaste::S<int> >(anatpaste::S<int>, void (*)(int))"
    assert gates.expression_of(name) == "anatpaste::k<(anatpaste::Blend)2, anatpaste::S<int> >"
    assert gates.expression_of("anatpaste::plain_kernel(int*)") == "anatpaste::plain_kernel"


def test_every_kernel_in_the_sources_has_a_budget() -> None:
    import re

    text = "".join(path.read_text() for path in sorted(gates.CSRC.glob("cuda/*.cu*")))
    declared = re.findall(r"__global__[^;{]*?\b(\w+_kernel)\(", text)
    assert len(declared) >= 10
    budgets = gates.read_budgets()
    assert [name for name in declared if name not in budgets] == [], "kernels without a budget"
    assert [name for name in budgets if name not in declared] == [], "budgets without a kernel"


def test_what_racecheck_calls_a_hazard_is_not_used() -> None:
    """A volatile store that races makes NVIDIA's racecheck fail, harmless or not; an atomic does not."""
    using = [path.name for path in gates.CSRC.glob("cuda/*.cu*") if "relaxed_store(" in path.read_text()]
    assert using == []


@pytest.mark.slow
@pytest.mark.skipif(not simt.available(), reason="the SIMT executor needs Linux with g++")
def test_launches_stay_within_the_budgets() -> None:
    """Threads and dynamic shared memory are asked for at launch: no compiler sees them, the executor does."""
    from . import test_simt_cut_paste
    from .test_simt_anat_paste import STEP, WIDE, arguments, noise, two_lungs

    budgets = gates.read_budgets()
    with simt.counted() as counts:
        for height, width in ((64, 64), (16, 2200), (16, 4000)):
            image, lung = noise((1, 1, height, width), torch.uint8), two_lungs(1, height, width)
            simt.op("anat_paste", "count")(*arguments(image, lung, WIDE))
            simt.op("image_jitter", "count")(image, torch.arange(1), STEP, STEP, [0.5, 1.5])
            simt.op("cut_paste", "count")(*test_simt_cut_paste.arguments(image))
    assert {launch["name"] for launch in counts.launches} >= {"anat_paste", "image_jitter", "cut_paste"}
    for launch in counts.launches:
        if f"{launch['name']}_kernel" not in budgets:
            continue
        budget = budgets[f"{launch['name']}_kernel"]
        x, y, z = launch["block"]
        assert x * y * z <= budget.threads
        assert launch["dynamic_shared_bytes"] <= budget.dynamic_shared_bytes
