"""One call of every operator, for whatever runs them all: counts of instructions, sanitizer, parity."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anatpaste_gpu import AnatPasteConfig, CutPasteConfig, ops
from anatpaste_gpu.operator_settings import (
    anat_paste_settings,
    cut_paste_settings,
    image_jitter_settings,
)

MIN_AREA = 400
SEED, STEP = torch.tensor(7), torch.tensor(0)
JITTER = image_jitter_settings(AnatPasteConfig().image_jitter)

#: Operator, or "operator: what is special about this call" -> its arguments, on the CPU.
Calls = dict[str, tuple[Any, ...]]


def operator_of(call: str) -> str:
    """The operator's name."""
    return call.split(":")[0]


def on_images(images: Tensor) -> Calls:
    """Every operator that has a CUDA kernel, each on what the steps before it leave of the images.

    Args:
        images: (B,1,H,W), uint8, uint16 or a float dtype in [0, 1], on the CPU; H, W >= 16.
    """
    count, _, height, width = images.shape
    levels = ops.clahe(images)
    dark = levels < levels.float().mean()
    lungs = ops.segment_lungs(images, 0.01, MIN_AREA, False)
    paste = anat_paste_settings(AnatPasteConfig(), height, width)
    numbers = torch.arange(count)
    calls: Calls = {
        "to_grey": (images.expand(-1, 3, -1, -1).contiguous(),),
        "clahe": (images, 0.01),
        "otsu_threshold": (levels,),
        "binary_opening": (dark,),
        "clear_border": (dark,),
        "binary_dilation": (dark,),
        "label_components": (dark,),
        "remove_small_components": (dark, MIN_AREA, False),
        "segment_lungs": (images, 0.01, MIN_AREA, False),
        "image_jitter": (images, numbers, SEED, STEP, JITTER),
        "anat_paste": (images, lungs, numbers, SEED, STEP, None, None, paste, False),
    }
    for variant in ("normal", "scar"):
        cut = cut_paste_settings(variant, CutPasteConfig(), height, width)
        calls[f"cut_paste: {variant}"] = (images, numbers, SEED, STEP, None, None, cut, False)
    return calls


def drawing(count: int, height: int, width: int) -> Calls:
    """Every operator that draws the parameters of so many images and looks at none."""
    shared = (torch.arange(count), SEED, STEP)
    paste = anat_paste_settings(AnatPasteConfig(), height, width)
    cut = cut_paste_settings("union", CutPasteConfig(), height, width)
    lung_count = torch.full((count,), height * width // 4, dtype=torch.int32)
    return {
        "draw_image_jitter": (*shared, JITTER),
        "draw_anat_paste": (*shared, lung_count, height, width, paste),
        "draw_cut_paste": (*shared, height, width, cut),
    }
