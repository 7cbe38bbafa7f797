"""Resize and contrast of exported graphs: Pillow's and the operator's, pixel by pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from anatpaste_gpu.export.resize import PillowResize
from anatpaste_gpu.methods.contrast import adjust, exported_contrast
from anatpaste_gpu.ops.clahe import clahe
from anatpaste_gpu.torch_backend.clahe_graph import ClaheGraph

from .conftest import read_grey, rsna_files, zhanglab_normals
from .exported_files import (
    SIDE,
    two_classes,
)


@pytest.fixture(scope="module")
def phantoms() -> tuple[Tensor, Tensor]:
    """16 normal and 8 abnormal ones, uint8 of the side that detectors here take."""
    return two_classes()


class TestResize:
    @pytest.mark.parametrize(
        ("height", "width", "side"),
        [
            (64, 64, 64),
            (37, 90, 64),
            (200, 131, 64),
            (2, 3, 16),
            (1024, 300, 64),
            (257, 255, 256),
            (128, 64, 32),
        ],
    )
    def test_it_is_pillows(self, height: int, width: int, side: int) -> None:
        generator = torch.Generator().manual_seed(height)
        noise = torch.randint(0, 256, (2, 1, height, width), generator=generator, dtype=torch.uint8)
        noise[1] = (noise[1] > 127) * 255  # overshoots are cut off
        found = PillowResize(side)(noise)
        assert found.dtype == torch.uint8
        for own, source in zip(found, noise, strict=True):
            resized = Image.fromarray(source[0].numpy()).resize((side, side), Image.Resampling.BICUBIC)
            np.testing.assert_array_equal(own[0].numpy(), np.asarray(resized))

    def test_radiographs(self, real_data: Path) -> None:
        resize = PillowResize(256)
        for path in [*zhanglab_normals(real_data)[::200], *rsna_files(real_data)[::90]]:
            grey = read_grey(path)
            found = resize(torch.from_numpy(np.array(grey))[None, None])
            expected = np.asarray(grey.resize((256, 256), Image.Resampling.BICUBIC))
            np.testing.assert_array_equal(found[0, 0].numpy(), expected)


class TestContrast:
    @pytest.mark.parametrize("side", [32, 64, 100, 224])
    def test_clahe_is_the_operator(self, side: int) -> None:
        generator = torch.Generator().manual_seed(side)
        ramp = torch.arange(side * side).reshape(side, side).mul(256).div(side * side).to(torch.uint8)
        pictures = [
            ramp,
            torch.full((side, side), 200, dtype=torch.uint8),
            (ramp // 128) * 80 + 3,
            torch.randint(0, 256, (side, side), generator=generator, dtype=torch.uint8),
            torch.randint(90, 94, (side, side), generator=generator, dtype=torch.uint8),
        ]
        images = torch.stack(pictures)[:, None]
        assert torch.equal(ClaheGraph(side)(images), clahe(images))

    def test_clahe_of_radiographs(self, radiographs: Tensor) -> None:
        assert torch.equal(ClaheGraph(256)(radiographs), clahe(radiographs))

    @pytest.mark.parametrize("contrast", ["none", "clahe", "equalise", "standardise"])
    def test_all_are_as_they_are_scored_with(self, contrast: str, phantoms: tuple[Tensor, Tensor]) -> None:
        images = phantoms[0]
        assert torch.equal(exported_contrast(contrast, SIDE)(images), adjust(images, contrast))
