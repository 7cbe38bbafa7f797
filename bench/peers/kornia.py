"""Lung segmentation and its steps with Kornia's functions, on batches (B,1,H,W) of float32."""

from __future__ import annotations

import kornia
import torch
from torch import Tensor

CLIP_LIMIT = 2.56  # OpenCV's convention


def square(like: Tensor) -> Tensor:
    """3 x 3."""
    return torch.ones(3, 3, device=like.device)


def clahe(images: Tensor) -> Tensor:
    """In [0, 1]."""
    return kornia.enhance.equalize_clahe(images, CLIP_LIMIT, (8, 8))


def opening(masks: Tensor) -> Tensor:
    """3 x 3."""
    return kornia.morphology.opening(masks, square(masks))


def dilation(masks: Tensor) -> Tensor:
    """3 x 3."""
    return kornia.morphology.dilation(masks, square(masks))


def labels(masks: Tensor) -> Tensor:
    """By union-find, which is exact; one number a component."""
    return kornia.contrib.connected_components_union_find(masks)


def segment(images: Tensor, min_area: int) -> Tensor:
    """The composition; what Kornia has no function for (borders, areas) is torch on its labels."""
    equalized = clahe(images)
    threshold = kornia.filters.otsu_threshold(equalized)[1].view(-1, 1, 1, 1)
    dark = (equalized <= threshold) & (equalized > 0)
    opened = labels(opening(dark.float()))
    cut = torch.cat(
        [edge.flatten() for edge in (opened[..., 0, :], opened[..., -1, :], opened[..., 0], opened[..., -1])]
    )
    mask = dilation(((opened > 0) & ~torch.isin(opened, cut)).float())
    numbered = labels(mask)
    kept = torch.bincount(numbered.flatten()) >= min_area
    kept[0] = False
    return kept[numbered]
