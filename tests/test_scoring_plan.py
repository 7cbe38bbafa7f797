"""Which batches a detector scores, and how many side by side: never a matter of the result."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from anatpaste_gpu.cli.score import score_paths
from anatpaste_gpu.data import blocks
from anatpaste_gpu.data.blocks import Block
from anatpaste_gpu.methods import Detector, Learner, prediction
from anatpaste_gpu.methods.scoring_plan import ScoringPlan
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


def in_pairs(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, each call of which waits until another has begun."""
    both = threading.Barrier(2)

    def met(*words: Any, **options: Any) -> Any:
        both.wait(60)
        return function(*words, **options)

    return met


class TestCalls:
    """A detector that is called goes by the plan as the command does."""

    @pytest.fixture
    def files(self, tmp_path: Path) -> Path:
        for number, one in enumerate(images(11, seed=4)):
            Image.fromarray(one[0].numpy()).resize((40, 30)).save(tmp_path / f"{number:02d}.png")
        return tmp_path

    @pytest.fixture(autouse=True)
    def _small_batches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ScoringPlan, "of", lambda *args, **options: ScoringPlan(4, 2, 1))

    def test_scores_are_the_commands(self, detector: Detector, files: Path) -> None:
        expected = [row.score for row in score_paths(detector, [files], [])]
        assert detector(files).pred_score.tolist() == expected
        arrays = [np.asarray(Image.open(path)) for path in sorted(files.iterdir())]
        for given in (arrays, np.stack(arrays)[:, None], [np.stack(arrays[:7])[:, None], *arrays[7:]]):
            assert detector(given).pred_score.tolist() == expected

    @pytest.mark.parametrize("kind", ["files", "arrays"])
    def test_batches_are_scored_side_by_side_and_made_ahead(
        self, kind: str, detector: Detector, files: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Two batches wait for each other, and so do two images."""
        module, name = (blocks, "read_image") if kind == "files" else (prediction, "squares")
        monkeypatch.setattr(Detector, "score", in_pairs(Detector.score))
        monkeypatch.setattr(module, name, in_pairs(getattr(module, name)))
        paths = sorted(files.iterdir())[:8]
        given = paths if kind == "files" else [np.asarray(Image.open(path)) for path in paths]
        assert len(detector(given, workers=2)) == 8

    def test_an_image_that_cannot_be_used(self, detector: Detector) -> None:
        given = [*images(6, seed=5).numpy(), np.zeros((32, 32), np.int64)]
        with pytest.raises(TypeError, match="must be uint8, uint16, or floating point in"):
            detector(given)
        with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
            detector(given, workers=0)


def test_the_one_batch_of_a_short_call_has_all_cores(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int] = []
    score = Detector.score

    def seen(self: Detector, given: torch.Tensor) -> NDArray[np.float64]:
        used.append(torch.get_num_threads())
        return score(self, given)

    monkeypatch.setattr(Detector, "score", seen)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert len(detector(images(5, seed=6), workers=6)) == 5
    finally:
        torch.set_num_threads(before)
    assert used == [3]
