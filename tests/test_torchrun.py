"""torchrun on two processes, from the command line: signals, kills, restarts, seeds."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from anatpaste_gpu.training import TrainConfig, train, train_seeds

from .training_runs import quiet

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parent.parent
TINY = TrainConfig.of(
    dataset="demo",
    gpu=-1,
    threads=1,
    workers=1,
    image_size=32,
    batch_size=8,
    epochs=3,
    steps_per_epoch=4,
    validate_every=1,
    learning_rate=0.001,
    backbone="shufflenet_v2_x0_5",
    precision="float32",
    bootstrap_samples=100,
    gallery_rows=2,
    log_every=1,
)


def start(folder: Path, *words: str, restarts: int = 0) -> subprocess.Popen[str]:
    """torchrun of two processes that writes to `folder`."""
    recipe = folder.parent / "tiny.yaml"
    recipe.write_text(TINY.to_yaml())
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    training = [str(REPOSITORY / "train.py"), "--config", str(recipe), "--output", str(folder)]
    return subprocess.Popen(
        [sys.executable, *launcher, f"--max-restarts={restarts}", *training, *words],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder.parent,
    )


def finish(
    process: subprocess.Popen[str], moment: str = "", action: Callable[[int], None] | None = None
) -> tuple[int, str]:
    """Waits for the end; once a line with `moment` has come, does `action` with the launcher's number."""
    assert process.stdout is not None
    lines = []
    with process:
        for line in process.stdout:
            lines.append(line)
            if action is not None and moment in line:
                action(process.pid)
                action = None
    assert action is None, f"{moment!r} was never printed:\n{''.join(lines)}"
    return process.returncode, "".join(lines)


def kill_rank_1(launcher: int) -> None:
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    for child in children:
        if "RANK=1" in Path(f"/proc/{child}/environ").read_text().split("\0"):
            os.kill(int(child), signal.SIGKILL)
            return
    raise AssertionError(f"no rank 1 among {children}")


def assert_same_result(folder: Path, other: Path) -> None:
    for name in ("metrics.json", "model.safetensors", "scores.csv", "split_manifest.json"):
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torchrun") / "run"
    status, printed = finish(start(folder))
    assert status == 0, printed
    assert printed.count("test AUC") == 1, "rank 0 alone prints"
    assert "2 ranks share every batch: 4 images each." in printed
    assert json.loads((folder / "metrics.json").read_text())["device"]["ranks"] == 2
    return folder


def test_a_killed_rank_is_restarted_from_the_checkpoint(tmp_path: Path, uninterrupted: Path) -> None:
    status, printed = finish(start(tmp_path / "run", restarts=1), "step 6/12", kill_rank_1)
    assert status == 0, printed
    assert printed.count("train.py: error: ") == 1, printed
    assert "Traceback" not in printed
    assert f"Continuing at step 4 in {tmp_path / 'run'}" in printed
    assert_same_result(tmp_path / "run", uninterrupted)


def test_a_killed_rank_ends_the_job_and_the_same_command_continues(
    tmp_path: Path, uninterrupted: Path
) -> None:
    status, printed = finish(start(tmp_path / "run"), "step 10/12", kill_rank_1)
    assert status != 0
    assert printed.count("train.py: error: ") == 1, printed
    assert not (tmp_path / "run" / "metrics.json").exists()
    status, printed = finish(start(tmp_path / "run"))
    assert status == 0, printed
    assert_same_result(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_ranks_at_one_step(
    number: signal.Signals, tmp_path: Path, uninterrupted: Path
) -> None:
    status, printed = finish(start(tmp_path / "run"), "step 5/12", lambda launcher: os.kill(launcher, number))
    assert status != 0
    stops = re.findall(r"Stopped after step (\d+) of 12; the same command continues the run\.", printed)
    assert len(stops) == 1, printed
    assert 5 <= int(stops[0]) < 12
    status, printed = finish(start(tmp_path / "run"))
    assert status == 0, printed
    assert f"Continuing at step {stops[0]} in" in printed
    assert_same_result(tmp_path / "run", uninterrupted)


def test_a_batch_that_cannot_be_shared_is_refused_in_one_sentence(tmp_path: Path) -> None:
    status, printed = finish(start(tmp_path / "run", "--batch-size", "7"))
    assert status != 0
    sentence = "train.py: error: batch_size must be divisible by the 2 ranks that share it, got 7."
    assert printed.count(sentence) == 1
    assert not (tmp_path / "run").exists()


def test_two_ranks_equal_one_process_to_the_bit_in_as_many_parts(tmp_path: Path) -> None:
    status, printed = finish(start(tmp_path / "two", "--batch-parts", "4"))
    assert status == 0, printed
    config = TINY.replace(batch_parts=4, output=str(tmp_path / "one"))
    one = train(config, console=quiet())["training"]
    two = json.loads((tmp_path / "two" / "metrics.json").read_text())["training"]
    assert two["epochs"] == one["epochs"]
    weights, others = (
        safetensors.torch.load_file(tmp_path / name / "model.safetensors") for name in ("one", "two")
    )
    assert weights.keys() == others.keys()
    for name, weight in weights.items():
        assert torch.equal(weight, others[name]), name


def test_one_seed_a_rank_equals_one_after_the_other(tmp_path: Path) -> None:
    words = ["--seeds", "5", "3", "--seeds-parallel", "true", "--epochs", "1"]
    status, printed = finish(start(tmp_path / "parallel", *words))
    assert status == 0, printed
    assert printed.count("2 seeds (5, 3)") == 1
    config = TINY.replace(epochs=1, output=str(tmp_path / "sequential"))
    train_seeds(config, [5, 3], console=quiet())
    for name in ("summary.json", "ensemble/scores.csv", "seed-3/metrics.json", "seed-3/model.safetensors"):
        assert (tmp_path / "parallel" / name).read_bytes() == (tmp_path / "sequential" / name).read_bytes(), (
            name
        )
