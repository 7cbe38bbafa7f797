"""The roofline sheet: listing, control flow, executions, occupancy, the model, and what is committed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.roofline import device, evaluate, executions, listing, model, sheet
from bench.roofline.counting import Batch
from dev import REPOSITORY, simt, simt_builder

RTX_3090 = device.Device()

#: As nvdisasm -gi writes it: a loop around a load, a store that never runs, a path for diverged warps.
LISTING = """
\t.section\t.text._Zkernel,"ax",@progbits
.text._Zkernel:
\t//## File "/x/csrc/cuda/a.cuh", line 10
        /*0000*/                   MOV R1, c[0x0][0x28] ;
.L_x_0:
\t//## File "/x/csrc/cuda/device_nvcc.h", line 5 inlined at "/x/csrc/cuda/../common/b.h", line 20
\t//## File "/x/csrc/cuda/../common/b.h", line 20 inlined at "/x/csrc/cuda/a.cuh", line 11
\t//## File "/x/csrc/cuda/a.cuh", line 11
        /*0010*/                   LDS.U8 R2, [R1] ;
        /*0020*/                   IADD3 R1, R1, 0x1, RZ ;
        /*0030*/              @!P0 BRA `(.L_x_0) ;
\t//## File "/x/csrc/cuda/a.cuh", line 12
        /*0040*/               @P1 BRA `(.L_x_1) ;
\t//## File "/x/csrc/cuda/a.cuh", line 33
        /*0050*/                   STS [R1], R2 ;
.L_x_1:
\t//## File "/x/csrc/cuda/a.cuh", line 14
        /*0060*/                   BRA.DIV UR4, `(.L_x_2) ;
        /*0070*/                   EXIT ;
.L_x_2:
        /*0080*/                   NOP ;
        /*0090*/                   EXIT ;
"""


@pytest.fixture(scope="module")
def graph() -> listing.Graph:
    return listing.graph_of(listing.parse(LISTING)["_Zkernel"])


def lines_of(chains: dict[str, listing.Chain]) -> executions.SourceLines:
    lines = executions.SourceLines(Path("unused"))
    lines.known = chains
    return lines


def launch_of(phases: list[dict[str, list[int]]], **changes: Any) -> dict[str, Any]:
    total = dict.fromkeys(["barriers"], 0)
    counters = {"grid": [1, 1, 1], "block": [64, 1, 1], "phases": phases, "largest_block": total}
    return {**counters, "shared_bytes": 0, "hottest_global_atomic": 0, "name": "kernel", **changes}


def run(graph: listing.Graph, count: int, passes: int, most: int) -> executions.Executions:
    """Two warps that load `count` times together, the busier one `most` times."""
    launch = launch_of([{"s1+10": [count, passes, count, passes, most]}])
    return executions.executions(
        graph, launch, lines_of({"s1+10": ("csrc/common/b.h:20", "csrc/cuda/a.cuh:11")}), upper=True
    )


def test_listing_keeps_source_lines_without_wrappers() -> None:
    code = [instruction for _, instruction in listing.parse(LISTING)["_Zkernel"]]
    assert code[1].opcode == "LDS.U8"
    assert code[1].chain == ("csrc/common/b.h:20", "csrc/cuda/a.cuh:11")
    assert code[3].predicated
    assert code[3].target == ".L_x_0"


def test_control_flow_has_blocks_loops_and_dominators(graph: listing.Graph) -> None:
    assert [len(block.code) for block in graph.blocks] == [1, 3, 1, 1, 1, 1, 2]
    assert graph.loop == [-1, 1, -1, -1, -1, -1, -1]
    assert graph.dominator == [-1, 0, 1, 2, 2, 4, -1]
    # Only a BRA.DIV leads to the last block.
    assert graph.reachable == [True] * 6 + [False]


def test_executions_follow_the_counted_access(graph: listing.Graph) -> None:
    found = run(graph, count=60, passes=90, most=40)
    runs = [count[executions.ALL].sum() for count in found.per_block]
    # Entry: two warps. The loop: as often as its load. Behind it: once a warp, never where the store is not
    # made, and never where only BRA.DIV leads.
    assert runs == [2, 60, 2, 0, 2, 2, 0]
    assert found.per_block[1][executions.SLOWEST_WARP].sum() == 40
    assert executions.instruction_count(graph.blocks, found.per_block) == 2 + 3 * 60 + 2 + 0 + 2 + 2
    assert found.matched_share == 1
    assert found.unmatched == {}


def test_a_site_without_an_instruction_is_reported(graph: listing.Graph) -> None:
    launch = launch_of([{"g4+20": [5, 5, 5, 5, 5], "s1+10": [15, 15, 15, 15, 15]}])
    chains = {"g4+20": ("csrc/cuda/z.cuh:1",), "s1+10": ("csrc/common/b.h:20",)}
    found = executions.executions(graph, launch, lines_of(chains), upper=True)
    assert found.unmatched == {"g4@csrc/cuda/z.cuh:1": 5}
    assert found.matched_share == 0.75


def test_a_place_without_an_instruction_joins_its_neighbour(graph: listing.Graph) -> None:
    # g++ puts the second load of a statement two lines below; nvcc makes one instruction's line of both.
    launch = launch_of([{"s1+10": [15, 15, 15, 15, 15], "s1+11": [5, 5, 5, 5, 5]}])
    call = "csrc/cuda/a.cuh:11"
    chains = {"s1+10": ("csrc/common/b.h:20", call), "s1+11": ("csrc/common/b.h:22", call)}
    found = executions.executions(graph, launch, lines_of(chains), upper=True)
    assert found.per_block[1][executions.ALL].sum() == 20
    assert found.matched_share == 1


def test_merged_accesses_run_less_often_and_take_the_passes_of_their_bytes() -> None:
    text = LISTING.replace("LDS.U8", "LDS.128")
    wide = listing.graph_of(listing.parse(text)["_Zkernel"])
    # 160 loads of a byte by each lane, four-way conflicts: ten loads of 16 bytes, 512 bytes a warp, 4 passes.
    found = run(wide, count=160, passes=640, most=160)
    assert found.per_block[1][executions.ALL].sum() == 10
    assert found.work["s"][executions.ALL].sum() == 40


def test_a_path_that_the_host_never_took_never_runs(graph: listing.Graph) -> None:
    frames = {"l0+1": frozenset({"csrc/cuda/a.cuh:10", "csrc/cuda/a.cuh:12"})}
    caps = executions.caps_of(graph, {"l0+1": 7.0}, frames)
    # Lines 10 and 12 ran, 11, 14 and 33 did not; the second block's lines are 20 of b.h and 11 of a.cuh.
    assert caps == [7, 0, 7, 0, 0, 0, 0]
    runs = executions.spread(graph, [None] * 7, np.full((3, 1), 9.0), [7, 0, 7, 0, 0, 0, 0])
    assert [float(count[executions.ALL].sum()) for count in runs] == [9, 0, 7, 0, 0, 0, 0]


def test_basic_blocks_of_the_host_end_where_the_next_begins() -> None:
    text = "00 <f>:\n  10:\tcall 5 <__sanitizer_cov_trace_pc>\n  15:\tmov\n  18:\tjmp 10\n" \
           "  1a:\tcall 5 <__sanitizer_cov_trace_pc>\n  1f:\tret\n\n30 <g>:\n  30:\tret\n"  # fmt: skip
    assert executions.basic_blocks(text, {0x15, 0x1F}) == {0x15: [0x15, 0x18], 0x1F: [0x1F]}


@pytest.mark.parametrize(
    ("opcode", "unit"),
    [("DFMA", "fp64"), ("F2F.F64.F32", "fp64"), ("MUFU.RCP64H", "fp64"), ("MUFU.RCP", "xu"), ("POPC", "xu"),
     ("IMAD.MOV.U32", "imad"), ("FFMA", "fma"), ("LOP3.LUT", "alu"), ("LDS.U8", "memory"), ("BRA", "issue"),
     ("UIADD3", "issue"), ("SHFL.UP", "shuffle"), ("REDUX.SUM", "reduce")],
)  # fmt: skip
def test_units(opcode: str, unit: str) -> None:
    assert model.unit_of(opcode) == unit


def test_terms_add_up_to_the_time(graph: listing.Graph) -> None:
    found = run(graph, count=60_000, passes=90_000, most=30_000)
    launched = model.Launched(launch_of([{}]), graph.blocks, found)
    # Issue: 60,000 * 3 and the 8 others in turn at 4 a clock; passes at 1 a clock.
    clocks = model.throughput(launched, RTX_3090)
    assert clocks.terms["issue"] == pytest.approx((180_000 + 8) / 4)
    assert clocks.terms["shared"] == 90_000
    assert clocks.best == 90_000
    time = model.kernel_time([launched], 64, 32, 936e3, RTX_3090)
    assert time.modelled == pytest.approx(sum(time.terms.values()))
    assert time.terms["DRAM"] == pytest.approx(1e-6)
    assert time.waves == 1


def test_a_slow_warp_makes_a_phase_wait(graph: listing.Graph) -> None:
    found = run(graph, count=1000, passes=1000, most=1000)
    launched = model.Launched(launch_of([{}]), graph.blocks, found)
    clocks = model.block_time(launched, RTX_3090)
    # A lone warp: a load of 23 clocks and three instructions of 4, a thousand times; and five others once.
    alone = 1000 * (3 * 4 + 23) + 4 * 4
    assert clocks.modelled == pytest.approx(alone, rel=1e-6)
    assert clocks.terms["latency"] > clocks.terms["issue"]


def test_waves_and_the_fullest_sm(graph: listing.Graph) -> None:
    found = run(graph, count=60_000, passes=90_000, most=30_000)
    launched = model.Launched(launch_of([{}], block=[1024, 1, 1]), graph.blocks, found)
    one, two = (model.kernel_time([launched], n, 32, 0.0, RTX_3090) for n in (82, 83))
    assert (one.waves, two.waves) == (1, 2)
    assert two.modelled > 1.9 * (one.modelled - RTX_3090["launch"])


def test_atomics_on_one_global_address_go_one_by_one(graph: listing.Graph) -> None:
    found = run(graph, count=60, passes=60, most=30)
    hot = model.Launched(launch_of([{}], hottest_global_atomic=16_950), graph.blocks, found)
    assert model.kernel_time([hot], 1, 32, 0.0, RTX_3090).terms["hot address"] == pytest.approx(1e-5)


# ---- the executor's side ----


@pytest.mark.slow
@pytest.mark.skipif(not simt.available(), reason="the SIMT executor needs Linux with g++")
def test_phases_and_cache_of_the_executor() -> None:
    import ctypes

    import torch

    mask = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    mask[..., 16:48, 16:48] = True
    library = simt.library("count")
    library.simt_set_cache.argtypes = [ctypes.c_uint64]
    try:
        library.simt_set_cache(1 << 20)
        with simt.counted() as counts:
            simt.op("binary_dilation", "count")(mask)
    finally:
        library.simt_set_cache(0)
    (launch,) = counts.launches
    # A cache that holds everything lets through what an endless one does.
    assert launch["cache_read_bytes"] == launch["load_footprint_bytes"] == 64 * 64
    assert launch["cache_written_bytes"] == launch["store_footprint_bytes"] == 64 * 64
    assert len(launch["phases"]) == launch["largest_block"]["barriers"] + 1
    # Sites, phase by phase, are the totals taken apart.
    of_kind = dict.fromkeys("gGsS", 0)
    sectors = 0
    for phase in launch["phases"]:
        for site, row in phase.items():
            if site[0] in of_kind:
                of_kind[site[0]] += row[executions.TOTAL]
            if site[0] in "gG":
                sectors += row[executions.WORK]
    total = launch["total"]
    assert [of_kind[kind] for kind in "gGsS"] == [
        total[name] for name in ("global_loads", "global_stores", "shared_loads", "shared_stores")
    ]
    assert sectors == total["global_load_sectors"] + total["global_store_sectors"]
    lines = executions.SourceLines(simt_builder.library_path("count"))
    sites = {site for phase in launch["phases"] for site in phase}
    chains = lines.look_up({site for site in sites if site[0] != executions.CODE})
    assert all(chain and chain[0].startswith("csrc/c") for chain in chains.values())
    # g++'s basic blocks: their lines hold those of the accesses, and a path not taken is not among them.
    blocks = lines.frames_of({site for site in sites if site[0] == executions.CODE})
    entered = frozenset().union(*blocks.values())
    assert {chain[0] for site, chain in chains.items() if site[0] in "sS"} <= entered
    assert not any(frame.startswith("csrc/cuda/otsu") for frame in entered)


# ---- the sheet ----


def kernel(**changes: Any) -> evaluate.KernelRow:
    values = dict.fromkeys(evaluate.KernelRow.__dataclass_fields__, 1)
    return evaluate.KernelRow(
        **{**values, "kernel": "k", "terms": {"issue": 1e-4}, "unmatched": {}, **changes}
    )


def op(name: str, side: int = 256, **changes: Any) -> evaluate.OpRow:
    return evaluate.OpRow(name, Batch(64, side, 4), [kernel(**changes)], 0, 0.0)


def test_a_missed_target_is_said_plainly() -> None:
    least = 64 * 256 * 256
    rows = [
        op("segment_lungs", dram_bytes=2 * least, seconds=4e-4),
        op("anat_paste", dram_bytes=3 * least, seconds=1e-4),
    ]
    found = {target.what: target for target in sheet.targets(rows)}
    assert [t.met for t in found.values()] == [True, True, True, False]
    assert found["segment_lungs + anat_paste, 64 x 256^2, modelled"].found == pytest.approx(0.5)
    report = {"images": "", "nvcc": "", "measured_on": "", "sensitivity": {}}
    text = sheet.markdown(report, rows, RTX_3090, {("anat_paste", 64, 256): 0.125})
    assert "| segment_lungs + anat_paste, 64 x 256^2, modelled | 0.5 ms | 0.45 ms | **missed** |" in text
    assert "| 0.125 |" in text


def test_measured_times_come_from_gpu_check(tmp_path: Path) -> None:
    row = {"name": "segment_lungs", "batch": 64, "height": 256, "graph": {"median_ms": 0.2}}
    report = {"machine": {"device": "X"}, "status": "passed", "result": {"timings": [row]}}
    file = tmp_path / "gpu-check-x" / "timings.json"
    file.parent.mkdir()
    file.write_text(json.dumps(report))
    assert sheet.measured(tmp_path) == ({("segment_lungs", 64, 256): 0.2}, "X")
    file.write_text(json.dumps({"machine": {"device": "X"}, "status": "skipped"}))
    assert sheet.measured(tmp_path) == ({}, "X")
    assert sheet.measured(tmp_path / "none") == ({}, "")


def test_the_committed_sheet_is_whole() -> None:
    results = REPOSITORY / "bench" / "results"
    report = json.loads((results / "roofline.json").read_text())
    ops = {(row["op"], row["batch"]["images"], row["batch"]["side"]): row for row in report["ops"]}
    assert set(ops) == {
        (name, *size) for name in evaluate.MINIMUM for size in ((64, 256), (64, 512), (16, 1024))
    }
    for row in ops.values():
        # Nothing can move less than the minimum, and nothing takes less than its units need.
        assert row["dram_bytes"] >= row["minimum_bytes"]
        assert row["modelled_seconds"] >= row["best_seconds"]
        assert np.isclose(sum(row["terms_seconds"].values()), row["modelled_seconds"])
        assert all(k["stack_bytes"] == 0 for k in row["kernels"])
    text = (results / "roofline.md").read_text()
    assert all(("met" if target["met"] else "**missed**") in text for target in report["targets"])
    assert (results / "roofline.png").stat().st_size > 10_000
