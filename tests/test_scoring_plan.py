"""Which batches a detector scores, and how many side by side: never a matter of the result."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from anatpaste_gpu.cli.scoring_plan import ScoringPlan
from anatpaste_gpu.data.blocks import Block
from anatpaste_gpu.methods import Detector, Learner
from anatpaste_gpu.scorers.calibration import Calibration

from .detectors import fitted

SIDE = 32


@pytest.fixture(scope="module")
def detector() -> Detector:
    """The paper's network with random weights."""
    return Detector(fitted(images(8, seed=0)), Calibration(1.0, 0.0, 2.0))


def images(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 1, SIDE, SIDE), dtype=torch.uint8, generator=generator)


def batches(count: int, size: int) -> Iterator[Block]:
    for number, block in enumerate(images(count, seed=1).split(size)):
        yield [Path(f"{number}-{row}") for row in range(len(block))], block


def scores(plan: ScoringPlan, detector: Detector) -> NDArray[np.float64]:
    found = list(plan.scored(detector, batches(20, plan.batch)))
    assert [batch[0] for batch, _ in found] == [names for names, _ in batches(20, plan.batch)]
    return np.concatenate([column for _, column in found])


@pytest.mark.parametrize("streams", [1, 2, 5])
def test_streams_change_no_bit(streams: int, detector: Detector) -> None:
    expected = scores(ScoringPlan(4), detector)
    before = torch.get_num_threads()
    assert np.array_equal(scores(ScoringPlan(4, streams, 1), detector), expected)
    assert torch.get_num_threads() == before
    used: list[int] = []
    thread = threading.Thread(target=lambda: used.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert used == [before], "of threads to come, too"


def test_batches_are_scored_side_by_side(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the first two waits until the other has begun."""
    both, score = threading.Barrier(2), Detector.score

    def meet(self: Detector, given: torch.Tensor) -> NDArray[np.float64]:
        both.wait(60)
        assert torch.get_num_threads() == 1
        return score(self, given)

    monkeypatch.setattr(Detector, "score", meet)
    assert len(scores(ScoringPlan(5, 2, 1), detector)) == 20


def test_cores_are_shared_out_as_memory_allows(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ScoringPlan.of(detector, 6) == (64, 6, 1)
    # 192 bytes a pixel, as `embed` estimates it: 12 MiB a batch.
    monkeypatch.setattr(detector.learner.engine, "memory_budget", 30)
    assert ScoringPlan.of(detector, 6) == (64, 2, 3)
    monkeypatch.setattr(detector.learner.engine, "memory_budget", 1)
    assert ScoringPlan.of(detector, 6) == (64, 1, 6)


@pytest.mark.parametrize(("side", "batch"), [(32, 64), (64, 64), (128, 16), (256, 16), (1024, 16)])
def test_larger_images_come_in_smaller_batches(
    side: int, batch: int, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Detector, "image_size", side)
    assert {ScoringPlan.of(detector, workers).batch for workers in (1, 2, 64)} == {batch}


def test_who_scores_one_batch_after_the_other(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ScoringPlan.of(detector, 6, alone=True) == (64, 1, None)
    assert not Learner.scores_in_threads, "unless a method says that it may"
    with monkeypatch.context() as patch:
        patch.setattr(type(detector.learner), "scores_in_threads", False)
        assert ScoringPlan.of(detector, 6) == (64, 1, None)
    torch.set_float32_matmul_precision("high")
    try:
        assert ScoringPlan.of(detector, 6) == (64, 1, None)
    finally:
        torch.set_float32_matmul_precision("highest")


def test_a_score_leaves_settings_alone(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    """What others threads' scores would meet."""

    def fail(*args: object, **options: object) -> None:
        raise AssertionError("torch's settings were changed")

    monkeypatch.setattr(torch, "set_float32_matmul_precision", fail)
    monkeypatch.setattr(torch.backends.cudnn, "flags", fail)
    assert len(detector.score(images(2, seed=3))) == 2
