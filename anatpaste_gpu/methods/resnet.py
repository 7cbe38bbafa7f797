"""The paper's backbone, ResNet18 (He et al., CVPR 2016), and its larger sister.

They are torchvision's to the bit: names of tensors, random weights, outputs. They are here because importing
torchvision takes as long as importing torch, which every score would wait for.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Name -> blocks of each stage.
STAGES = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
_CLASSES = 1000


class ResNet(nn.Module):
    """A residual network of two convolutions a block; `fc` is its classifier of ImageNet's classes.

    Args:
        name: one of `STAGES`.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        first, second, third, fourth = STAGES[name]
        self.layer1 = _stage(64, 64, first)
        self.layer2 = _stage(64, 128, second)
        self.layer3 = _stage(128, 256, third)
        self.layer4 = _stage(256, 512, fourth)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc: nn.Module = nn.Linear(512, _CLASSES)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> what `fc` makes of the means of the last maps, (B, 512)."""
        maps = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps = self.layer4(self.layer3(self.layer2(self.layer1(maps))))
        scores: Tensor = self.fc(torch.flatten(self.avgpool(maps), 1))
        return scores


class _Block(nn.Module):
    """Two convolutions beside a shortcut, which is a convolution where the maps' shape changes."""

    def __init__(self, wide: int, width: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(wide, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = downsample

    def forward(self, maps: Tensor) -> Tensor:
        shortcut = maps if self.downsample is None else self.downsample(maps)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(maps)))))
        out += shortcut
        result: Tensor = self.relu(out)
        return result


def _stage(wide: int, width: int, blocks: int) -> nn.Sequential:
    """Blocks of one width, the first of which halves the maps where it widens them."""
    downsample, stride = None, 1
    if wide != width:
        stride = 2
        shortcut = nn.Conv2d(wide, width, 1, stride=stride, bias=False)
        downsample = nn.Sequential(shortcut, nn.BatchNorm2d(width))
    first = _Block(wide, width, stride, downsample)
    return nn.Sequential(first, *(_Block(width, width, 1, None) for _ in range(1, blocks)))
