"""Training on a GPU: graph, stream, resume and types. Run by dev/gpu_check.py, skipped without a GPU."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from anatpaste_gpu.data import DatasetSplits
from anatpaste_gpu.training import train
from anatpaste_gpu.training.trainer import Trainer

from .training_runs import assert_same_run, killed_after, printed, quiet, tiny

pytestmark = pytest.mark.gpu
# cuBLAS reads it when CUDA starts, which in a process of other tests may have been before.
if not torch.cuda.is_initialized():
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def run(folder: Path, splits: DatasetSplits, **changes: Any) -> tuple[list[float], str]:
    """Losses of the epochs and what was printed, of a deterministic run in float32 unless told otherwise."""
    console = quiet()
    recipe = {"gpu": 0, "deterministic": True, "precision": "float32", "backbone": "resnet18", **changes}
    metrics = train(tiny(folder, **recipe), splits=splits, console=console)
    return [epoch["loss"] for epoch in metrics["training"]["epochs"]], printed(console)


def test_a_graph_changes_no_bit(tmp_path: Path, splits: DatasetSplits) -> None:
    ordinary, _ = run(tmp_path / "ordinary", splits, cuda_graph=False)
    captured, _ = run(tmp_path / "captured", splits, cuda_graph=True)
    assert captured == ordinary
    assert_same_run(tmp_path / "captured", tmp_path / "ordinary")


def test_it_is_captured_by_itself(
    tmp_path: Path, splits: DatasetSplits, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    original = Trainer.end_epoch

    def end_epoch(self: Trainer, epochs_done: int) -> None:
        seen.append(bool(getattr(self.training_step._run, "captured", False)))
        original(self, epochs_done)

    monkeypatch.setattr(Trainer, "end_epoch", end_epoch)
    _, shown = run(tmp_path / "run", splits)
    assert seen == [False, True, True, True], shown  # three steps of warm-up are the first epoch


@pytest.mark.parametrize("segment", ["every_step", "once"])
def test_a_streamed_run_is_the_resident_one(segment: str, tmp_path: Path, splits: DatasetSplits) -> None:
    for name, budget in (("resident", None), ("streamed", 0)):
        run(tmp_path / name, splits, device_budget=budget, segment=segment)
    assert_same_run(tmp_path / "resident", tmp_path / "streamed")


def test_a_killed_run_ends_the_same(tmp_path: Path, splits: DatasetSplits) -> None:
    run(tmp_path / "whole", splits)
    with killed_after(8):
        run(tmp_path / "killed", splits)
    _, shown = run(tmp_path / "killed", splits)
    assert "Continuing at step 6" in shown
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_learns_alike(precision: str, tmp_path: Path, splits: DatasetSplits) -> None:
    if precision == "bfloat16" and torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("this GPU has no bfloat16 instructions")
    step_by_step = {"steps_per_epoch": 1, "epochs": 12, "validate_every": 12}
    whole, _ = run(tmp_path / "float32", splits, **step_by_step)
    half, _ = run(tmp_path / precision, splits, precision=precision, **step_by_step)
    # The first step starts at the same weights; eight bits of mantissa are good to a few per cent.
    assert half[0] == pytest.approx(whole[0], rel=0.03)
    # Steps after it magnify what it rounds; one whose loss is no number would have ended the run.
    assert half[1] != half[0]
    assert all(math.isfinite(loss) for loss in half)


def test_the_very_step_is_named_within_a_graph(tmp_path: Path, splits: DatasetSplits) -> None:
    with pytest.raises(
        ValueError, match=r"the loss became (nan|inf) in step 2, whose batch held samples 4 to 7"
    ):
        run(tmp_path / "run", splits, learning_rate=1e30, log_every=100, steps_per_epoch=12, epochs=1)
