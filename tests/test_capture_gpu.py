"""A kernel is first used within the capture of a CUDA graph. Run by make gpu-check, skipped without a GPU."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dev import REPOSITORY

pytestmark = pytest.mark.gpu
#: 256 x 256 needs more shared memory than a kernel gets unasked, 250 x 250 takes many kernels.
PROGRAM = """
import sys, torch, anatpaste_gpu
side = int(sys.argv[1])
generator = torch.Generator().manual_seed(0)
given = torch.randint(0, 256, (4, 1, side, side), dtype=torch.uint8, generator=generator).cuda()
index = torch.arange(4, device="cuda")
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph, capture_error_mode=sys.argv[2]):
    captured = anatpaste_gpu.batch_augment(given, seed=1, index=index)
graph.replay()
assert torch.equal(captured, anatpaste_gpu.batch_augment(given, seed=1, index=index))
"""


@pytest.mark.parametrize("mode", ["global", "thread_local"])
@pytest.mark.parametrize("side", [256, 250])
def test_a_process_may_begin_with_a_capture(side: int, mode: str) -> None:
    command = [sys.executable, "-c", PROGRAM, str(side), mode]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
