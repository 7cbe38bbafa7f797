"""Images in memory become what files of the same pixels become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anatpaste_gpu.data import read_image
from anatpaste_gpu.data.squares import squares


class TestSquares:
    @pytest.mark.parametrize("shape", [(50, 40), (1, 50, 40), (1, 1, 50, 40)])
    def test_shapes(self, shape: tuple[int, ...]) -> None:
        grey = torch.arange(2000).reshape(shape).remainder(256).to(torch.uint8)
        expected = squares(grey.reshape(1, 1, 50, 40), 32)
        assert expected.shape == (1, 1, 32, 32)
        assert torch.equal(squares(grey, 32), expected)
        assert torch.equal(squares(grey.numpy(), 32), expected)

    def test_every_dtype_as_the_file_of_its_pixels(self, tmp_path: Path) -> None:
        generator = np.random.default_rng(0)
        grey = generator.integers(0, 256, (50, 40), np.uint8)
        colour = generator.integers(0, 256, (50, 40, 3), np.uint8)
        deep = generator.integers(100, 4000, (50, 40), np.uint16)
        arrays = {"grey": grey, "colour": colour, "deep": deep}
        for name, array in arrays.items():
            Image.fromarray(array).save(tmp_path / f"{name}.png")
        files = {name: read_image(tmp_path / f"{name}.png", 32)[None] for name in arrays}
        assert torch.equal(squares(grey, 32), files["grey"])
        assert torch.equal(squares(colour.transpose(2, 0, 1), 32), files["colour"])
        assert torch.equal(squares(deep, 32), files["deep"])
        for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
            unit = torch.from_numpy(grey).to(torch.float64).div(255).to(dtype)
            if dtype == torch.bfloat16:  # 8 bits do not hold 256 levels
                assert (squares(unit, 50).int() - squares(grey, 50).int()).abs().max() <= 2
            else:
                assert torch.equal(squares(unit, 32), files["grey"])
        assert torch.equal(squares(torch.from_numpy(colour).permute(2, 0, 1) / 255, 32), files["colour"])

    @pytest.mark.parametrize(
        ("images", "error", "sentence"),
        [
            (torch.zeros(2, 50, 40), ValueError, r"images must have shape \(B,1,H,W\) or \(B,3,H,W\)"),
            (torch.zeros(50, 40, dtype=torch.int32), TypeError, "uint8, uint16, or floating point in"),
            (torch.full((50, 40), 1.5), ValueError, r"with values in \[1\.5, 1\.5\]"),
            (7, TypeError, "images must be a torch.Tensor, a NumPy array"),
        ],
    )
    def test_refusals(self, images: Any, error: type[Exception], sentence: str) -> None:
        with pytest.raises(error, match=sentence):
            squares(images, 32)
