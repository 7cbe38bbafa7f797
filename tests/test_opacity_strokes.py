"""Opacity strokes: against a slow reference, on radiographs, and what must hold of any image."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from anatpaste_gpu import batch_augment, segment_lungs
from anatpaste_gpu.methods import noise
from anatpaste_gpu.methods.pretext import opacity_strokes as module
from anatpaste_gpu.methods.pretext.opacity_strokes import opacity_strokes
from anatpaste_gpu.methods.pretext.task import STROKED_SHARE, TASKS

from .conftest import load_batch, zhanglab_normals

SEED = 5


def lungs(height: int, width: int) -> Tensor:
    """Two rectangles."""
    mask = torch.zeros(1, 1, height, width, dtype=torch.bool)
    mask[..., height // 4 : -height // 4, width // 8 : width // 3] = True
    mask[..., height // 4 : -height // 4, -width // 3 : -width // 8] = True
    return mask


def slow(image: np.ndarray, mask: np.ndarray, seed: int, number: int) -> np.ndarray:
    """The definition, pixel by pixel, in double precision; bytes before rounding."""
    height, width = image.shape
    cells = module._CELLS
    drawn = noise.uniform(seed, noise.STROKES, torch.tensor([number]), 16 + (cells + 1) ** 2)[0].numpy()
    grid = drawn[16:].reshape(cells + 1, cells + 1)
    inside = np.argwhere(mask if mask.any() else np.ones_like(mask))
    scale = math.sqrt(height * width) / 256
    discs = []
    for stroke in range(1 + int(drawn[0] * 3)):
        three, radius, strength = drawn[1 + 5 * stroke :][:3], *drawn[4 + 5 * stroke :][:2]
        points = [inside[int(one * len(inside))].astype(float) for one in three]
        points[1:] = [points[0] + (one - points[0]) / 2 for one in points[1:]]
        for sample in range(12):
            t = sample / 11
            middle = (1 - t) ** 2 * points[0] + 2 * t * (1 - t) * points[1] + t * t * points[2]
            discs.append((middle, (12 + 44 * radius) * scale, 0.25 + 0.6 * strength))
    reach = max(1, round(math.sqrt(height * width) / 32))
    near = [(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]
    places = {tuple(place) for place in inside}
    wide = {
        (y, x)
        for y in range(height)
        for x in range(width)
        if any((y + dy, x + dx) in places for dy, dx in near)
    }
    light = np.sort(image.ravel())[math.ceil(0.85 * image.size) - 1].astype(float)
    out = np.empty(image.shape)
    for y in range(height):
        for x in range(width):
            weight = max(
                share * max(0.0, 1 - ((y - middle[0]) ** 2 + (x - middle[1]) ** 2) / reach_of**2) ** 2
                for middle, reach_of, share in discs
            )
            row, column = y * cells / height, x * cells / width
            i, j, down, right = int(row), int(column), row % 1, column % 1
            upper = grid[i, j] + down * (grid[i + 1, j] - grid[i, j])
            lower = grid[i, j + 1] + down * (grid[i + 1, j + 1] - grid[i, j + 1])
            weight *= 1 + 0.4 * (2 * (upper + right * (lower - upper)) - 1)
            weight *= sum((y + dy, x + dx) in wide for dy, dx in near) / len(near)
            out[y, x] = image[y, x] + min(max(weight, 0), 1) * (light - image[y, x])
    return out


@pytest.mark.parametrize(("height", "width"), [(32, 32), (40, 33)])
@pytest.mark.parametrize("empty", [False, True])
def test_is_what_a_slow_reference_draws(height: int, width: int, empty: bool) -> None:
    images = torch.randint(0, 256, (3, 1, height, width), dtype=torch.uint8, generator=generator())
    masks = lungs(height, width).expand(3, -1, -1, -1) & torch.tensor(not empty)
    index = torch.tensor([0, 7, 1 << 40])
    drawn = opacity_strokes(images, masks, seed=SEED, index=index)
    for image, mask, number, ours in zip(images, masks, index, drawn, strict=True):
        expected = slow(image[0].numpy(), mask[0].numpy(), SEED, int(number))
        # float32 here, double there: a value between two bytes may be rounded to either.
        np.testing.assert_allclose(ours[0].numpy(), expected, atol=0.501)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_radiographs_become_lighter_inside_their_lungs_alone(real_data: Path) -> None:
    images = load_batch(zhanglab_normals(real_data)[:6], 128)
    masks = segment_lungs(images)
    drawn = opacity_strokes(images, masks, seed=SEED, index=torch.arange(6))
    changed = (drawn != images).flatten(1).float().mean(1)
    assert (changed > 0.01).all()
    assert (changed < 0.6).all()
    soft = module._softened(masks)
    assert torch.equal(drawn[soft == 0], images[soft == 0])
    difference = drawn.double() - images.double()
    assert (difference[masks & (images < module._light(images))] >= 0).all()


@given(data=st.data())
def test_a_pixel_stays_between_itself_and_the_light_grey(data: st.DataObject) -> None:
    height, width = data.draw(st.tuples(st.integers(16, 40), st.integers(16, 40)))
    words = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    images = torch.from_numpy(words.integers(0, 256, (2, 1, height, width), dtype=np.uint8))
    masks = torch.from_numpy(words.random((2, 1, height, width)) < words.random())
    index = torch.tensor(data.draw(st.lists(st.integers(0, 2**62), min_size=2, max_size=2)))
    drawn = opacity_strokes(images, masks, seed=data.draw(st.integers(0, 2**63 - 1)), index=index)
    light = module._light(images)
    assert drawn.dtype == torch.uint8
    assert (drawn >= torch.minimum(images, light)).all()
    assert (drawn <= torch.maximum(images, light)).all()


def test_a_draw_is_keyed_by_seed_number_and_step_alone() -> None:
    images = torch.randint(0, 256, (8, 1, 64, 64), dtype=torch.uint8, generator=generator())
    masks, index = lungs(64, 64).expand(8, -1, -1, -1), torch.arange(8)
    whole = opacity_strokes(images, masks, seed=SEED, index=index)
    apart = [
        opacity_strokes(images[one], masks[one], seed=SEED, index=index[one])
        for one in index.split([1, 3, 4])
    ]
    assert torch.equal(torch.cat(apart), whole)
    for other in ({"seed": SEED + 1}, {"step": 1}, {"step": torch.tensor(1)}):
        changed = opacity_strokes(images, masks, **{"seed": SEED, "index": index, **other})
        assert (changed != whole).flatten(1).any(1).all()


def test_half_of_the_twins_are_stroked() -> None:
    count = 64
    images = torch.randint(0, 256, (count, 1, 64, 64), dtype=torch.uint8, generator=generator())
    task, index = TASKS["anatpaste-strokes"], torch.arange(count)
    (twins,) = task.augment(images, seed=SEED, index=index)
    masks = segment_lungs(images)
    stroked = opacity_strokes(images, masks, seed=SEED, index=index)
    patched = batch_augment(images, seed=SEED, index=index)
    is_stroked, is_patched = ((twins == one).flatten(1).all(1) for one in (stroked, patched))
    assert (is_stroked | is_patched).all()
    # Four standard deviations of 64 fair draws.
    assert abs(int(is_stroked.sum()) - STROKED_SHARE * count) <= 16
    assert torch.equal(task.augment(images, seed=SEED, index=index, masks=masks)[0], twins)
