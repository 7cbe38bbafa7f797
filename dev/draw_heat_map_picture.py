"""Draws docs/heat-map.png: phantoms with findings, and what `--method memory` marks in them."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from anatpaste_gpu.data.phantoms import render_phantom
from anatpaste_gpu.distributed.engine import Engine
from anatpaste_gpu.methods import Detector, Recipe, get_method
from anatpaste_gpu.methods.heat_pictures import enlarged, overlay
from anatpaste_gpu.methods.heat_scale import normal_level

from . import REPOSITORY

OUTPUT = REPOSITORY / "docs" / "heat-map.png"
SEED = 3
NORMALS, HELD_OUT = range(80), range(80, 100)
#: Finding by patient, none of whom the memory knows.
CASES = {101: "normal", 102: "consolidation", 103: "effusion"}
SHOWN = 256


def pictures(patients: range, size: int) -> torch.Tensor:
    """Normal phantoms, uint8 (N, 1, S, S)."""
    found = [render_phantom(number, image_size=size, seed=SEED).image for number in patients]
    return torch.from_numpy(np.stack(found))[:, None]


def main() -> None:
    method = get_method("memory")
    recipe = Recipe.of(method=method.name, **method.defaults)
    learner = method.learner(recipe).prepare(Engine()).eval()
    learner.fit(pictures(NORMALS, recipe.image_size))
    level = normal_level(learner, pictures(HELD_OUT, recipe.image_size))
    scale = Detector(learner, heat_level=level).heat_scale
    assert scale is not None, "the level was measured"
    columns = []
    for number, finding in CASES.items():
        image = render_phantom(number, image_size=SHOWN, seed=SEED, finding=finding).image
        small = Image.fromarray(image).resize((recipe.image_size,) * 2, Image.Resampling.BICUBIC)
        heat = learner.heat_map(torch.from_numpy(np.array(small))[None, None])
        assert heat is not None, "the memory has heat maps"
        drawn = overlay(image, enlarged(heat[0, 0].numpy(), image.shape) / scale.brightest)
        columns.append(np.concatenate([np.repeat(image[..., None], 3, 2), drawn]))
    Image.fromarray(np.concatenate(columns, 1)).save(OUTPUT, optimize=True)


if __name__ == "__main__":
    main()
