"""What a call of a detector gives, and how it goes through images in memory, files and folders."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from anatpaste_gpu.data.ahead import computed_ahead
from anatpaste_gpu.data.blocks import read_blocks
from anatpaste_gpu.data.errors import ImageReadError
from anatpaste_gpu.data.registry import worker_count
from anatpaste_gpu.data.squares import as_batch, squares
from anatpaste_gpu.methods.scoring_plan import ScoringPlan

if TYPE_CHECKING:
    from anatpaste_gpu.methods.detector import Detector

#: Paths, none of images in memory, and uint8 (B, 1, S, S).
_Batch = tuple[list[Path], Tensor]


@dataclass(frozen=True)
class Prediction:
    """Results of N images, under the names that anomalib has for them.

    Attributes:
        pred_score: float64 (N,), higher is more abnormal; in the unit of `Detector.threshold`.
        pred_label: bool (N,), True where the score reaches the threshold: called abnormal.
        normalised_score: float64 (N,), 0 to 1 spans the validation set's scores; not clipped.
        anomaly_map: float32 CPU (N, 1, h, w), >= 0, over the whole image at the method's own resolution; None
            where it was not asked for.
        names: the files' paths, in order; None of images that were in memory.
        skipped: a sentence for each file that could not be read.
    """

    pred_score: NDArray[np.float64]
    pred_label: NDArray[np.bool_]
    normalised_score: NDArray[np.float64]
    anomaly_map: Tensor | None = None
    names: list[str] | None = None
    skipped: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.pred_score)


def predicted(
    detector: Detector, images: Any, *, maps: bool, skip_unreadable: bool, workers: int | None
) -> Prediction:
    """What a call of a detector gives; see `Detector.__call__`."""
    calibration, side = detector._calibrated, detector.image_size
    listener, threads = _Collector(skip_unreadable), worker_count(workers)
    plan = ScoringPlan.of(detector, threads, alone=maps)
    paths = _paths(images)
    if paths is None:
        batches = _in_memory(images, side, plan, threads)
    else:
        ahead = plan.streams + 1
        batches = read_blocks(paths, side, listener, plan.batch, workers=threads, blocks_ahead=ahead)
    scores, heat, names = [np.empty(0)], [], list[str]()
    for (files, batch), found in plan.scored(detector, batches):
        names += map(str, files)
        scores.append(found)
        if maps:
            heat.append(_heat_of(detector, batch))
    if maps and not heat:
        heat = [_heat_of(detector, torch.zeros(1, 1, side, side, dtype=torch.uint8))[:0]]
    values = np.concatenate(scores)
    return Prediction(
        values,
        calibration.decide(values).astype(bool),
        calibration.normalise(values),
        torch.cat(heat) if maps else None,
        None if paths is None else names,
        listener.sentences,
    )


class _Collector:
    """A listener that keeps sentences, or raises the first of them."""

    def __init__(self, skips: bool) -> None:
        self.sentences: list[str] = []
        self._skips = skips

    def read(self, path: Path) -> None:
        """Nothing is to be told."""

    def skipped(self, sentence: str, *paths: Path) -> None:
        if not self._skips:
            raise ImageReadError(sentence)
        self.sentences.append(sentence)

    def left_out(self, sentence: str, *paths: Path) -> None:
        """That there are other files, too, is no news in Python."""


def _paths(images: Any) -> list[Path] | None:
    """Paths of files and folders, or None of images in memory."""
    if isinstance(images, (str, os.PathLike)):
        return [Path(images)]
    if isinstance(images, (list, tuple)) and images and all(map(_is_path, images)):
        return [Path(one) for one in images]
    return None


def _is_path(one: Any) -> bool:
    return isinstance(one, (str, os.PathLike))


def _in_memory(images: Any, side: int, plan: ScoringPlan, workers: int) -> Iterator[_Batch]:
    """Batches of what a caller has, made square ahead of the scores as files are decoded."""
    if not isinstance(images, (list, tuple)):
        whole = as_batch(images)
        parts = whole.split(plan.batch) if len(whole) else ()
        yield from (([], batch) for batch in _squared(parts, side, workers, plan.streams + 1))
        return
    waiting: list[Tensor] = []
    for one in _squared(images, side, workers, plan.batch * (plan.streams + 1)):
        waiting += one.cpu().split(1) if len(one) else ()  # one of the list may be several images
        while len(waiting) >= plan.batch:
            yield [], torch.cat(waiting[: plan.batch])
            del waiting[: plan.batch]
    if waiting:
        yield [], torch.cat(waiting)


def _squared(images: Sequence[Any], side: int, workers: int, ahead: int) -> Iterator[Tensor]:
    made = functools.partial(squares, image_size=side)
    if all(map(_is_on_host, images)):
        return computed_ahead(made, images, workers, ahead)
    return map(made, images)  # another thread would not be in the caller's stream


def _is_on_host(one: Any) -> bool:
    return one.is_cpu if isinstance(one, Tensor) else isinstance(one, (np.ndarray, Image.Image))


def _heat_of(detector: Detector, block: Tensor) -> Tensor:
    found = detector.heat_map(block)
    if found is None:
        raise ValueError(
            f"method {detector.learner.recipe.method} has no heat maps; call without anomaly_map."
        )
    return found.detach().float().cpu()
