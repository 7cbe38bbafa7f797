"""Removal of what the image's border cuts, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from .label_components import label_components


def clear_border(mask: Tensor) -> Tensor:
    """bool (B,1,H,W); see ``ops.clear_border``."""
    labels, areas = label_components(mask)
    ends = [labels[..., 0, :], labels[..., -1, :], labels[..., 0], labels[..., -1]]
    touching = torch.cat([end.flatten(1) for end in ends], 1).long()
    cut = torch.zeros_like(areas, dtype=torch.bool).scatter_(1, touching, True)
    return mask & ~cut.gather(1, labels.flatten(1).long()).reshape(mask.shape)
