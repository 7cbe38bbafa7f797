"""Runs the ops under the executor's counting build, an image at a time, and keeps each launch's counters."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from anatpaste_gpu import AnatPasteConfig, CutPasteConfig
from anatpaste_gpu.operator_params import AnatPasteParams, from_columns
from anatpaste_gpu.operator_settings import (
    anat_paste_settings,
    cut_paste_settings,
    image_jitter_settings,
)
from dev import simt

from ..pictures import radiographs, source

SEED, STEP = torch.tensor(20_221), torch.tensor(0)
CONFIG = AnatPasteConfig()


@dataclass(frozen=True)
class Batch:
    """A batch that the sheet is about, and how many of its images are counted."""

    images: int
    side: int
    counted: int

    @property
    def name(self) -> str:
        """As in the sheet."""
        return f"{self.images} x {self.side}^2"


def pictures(batch: Batch) -> tuple[Tensor, str]:
    """uint8 (counted,1,side,side) spread over the batch, and what they are."""
    images = radiographs(batch.images, batch.side)
    return images[:: batch.images // batch.counted][: batch.counted].contiguous(), source()


def numbers(batch: Batch) -> list[int]:
    """The samples' numbers of the counted images."""
    return [n * (batch.images // batch.counted) for n in range(batch.counted)]


def slowest_draws(batch: Batch) -> list[int]:
    """Numbers for anat_paste: half of them those of the batch whose figures with their blur cover most."""
    index = torch.arange(batch.images)
    drawn = torch.ops.anatpaste.draw_anat_paste(
        index, SEED, STEP, torch.full((batch.images,), batch.side**2 // 4, dtype=torch.int32),
        batch.side, batch.side, anat_paste_settings(CONFIG, batch.side, batch.side)
    )  # fmt: skip
    params = from_columns(AnatPasteParams, drawn[0].double(), drawn[1].double())
    reach = 4 * params.sigma
    cost = (params.half_h + reach) * (params.half_w + reach)
    worst = cost.argsort(descending=True)[: max(1, batch.counted // 2)].tolist()
    return [*worst, *(n for n in numbers(batch) if n not in worst)][: batch.counted]


def ops(batch: Batch) -> dict[str, Callable[[Tensor, Tensor, int], Any]]:
    """Each op of the sheet on one image, its lung mask and its number."""
    segment, paste, cut, jitter = (
        simt.op(name, "count") for name in ("segment_lungs", "anat_paste", "cut_paste", "image_jitter")
    )
    area = CONFIG.min_area(batch.side, batch.side)
    pasting = anat_paste_settings(CONFIG, batch.side, batch.side)

    def paste_one(image: Tensor, mask: Tensor, number: int) -> Any:
        return paste(image, mask, torch.tensor([number]), SEED, STEP, None, None, pasting, False)

    # Normal patches, as they are larger than scars.
    cutting = cut_paste_settings("normal", CutPasteConfig(), batch.side, batch.side)

    def cut_one(image: Tensor, mask: Tensor, number: int) -> Any:
        return cut(image, torch.tensor([number]), SEED, STEP, None, None, cutting, False)

    jittering = image_jitter_settings(CONFIG.image_jitter)

    def jitter_one(image: Tensor, mask: Tensor, number: int) -> Any:
        return jitter(image, torch.tensor([number]), SEED, STEP, jittering)

    return {
        "segment_lungs": lambda image, mask, number: segment(image, CONFIG.clip_limit, area, False),
        "anat_paste": paste_one,
        "cut_paste": cut_one,
        "image_jitter": jitter_one,
    }


def count(
    batch: Batch, l2_bytes: float, multiprocessors: int
) -> tuple[dict[str, list[list[dict[str, Any]]]], str]:
    """Counters by op: for each counted image, its launches.

    The launchers are told of a device with just the SMs that an image has of the batch, so that they cut an
    image as they would there; the cache is an image's share of L2 among those that run at once.
    """
    library = simt.library("count")
    library.simt_set_cache.argtypes = [ctypes.c_uint64]
    share = int(l2_bytes / min(batch.images, multiprocessors))
    images, source = pictures(batch)
    masks = torch.ops.anatpaste.segment_lungs(
        images, CONFIG.clip_limit, CONFIG.min_area(batch.side, batch.side), False
    )
    counted: dict[str, list[list[dict[str, Any]]]] = {}
    with simt.device(multiprocessors=max(1, multiprocessors // batch.images), timeout=600, variant="count"):
        for name, op in ops(batch).items():
            chosen = slowest_draws(batch) if name == "anat_paste" else numbers(batch)
            counted[name] = []
            for image, mask, number in zip(images.split(1), masks.split(1), chosen, strict=True):
                library.simt_set_cache(share)
                with simt.counted() as counts:
                    op(image, mask, number)
                counted[name].append(counts.launches)
    library.simt_set_cache(0)
    return counted, source
