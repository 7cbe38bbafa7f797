"""CutPaste's drawn parameters: against Philox in Python's integers, and against their distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from anatpaste_gpu import CutPasteConfig
from anatpaste_gpu.operator_params import CutPasteParams, columns_of, from_columns
from anatpaste_gpu.operator_settings import cut_paste_settings

from .references import cut_paste as reference
from .references.augmentation import below, random_words, unit
from .test_cut_paste import WILD

PAPER = CutPasteConfig()
COUNT = 20_000
# One sample a test, drawn from a fixed seed: a p-value below this would come once in ten thousand seeds.
SIGNIFICANCE = 1e-4
CUT_PASTE, SCAR, UNION = 3, 4, 5  # the pinned domains


def draw(index, variant, seed=0, step=0, *, config=PAPER, shape=(256, 256)):
    """Drawn parameters as a dict of arrays."""
    arguments = (torch.as_tensor(index), torch.tensor(seed), torch.tensor(step), *shape)
    ints, reals = torch.ops.anatpaste.draw_cut_paste(*arguments, cut_paste_settings(variant, config, *shape))
    return {
        name: field.numpy() for name, field in from_columns(CutPasteParams, ints, reals)._asdict().items()
    }


NUMBERS = [(0, 0, 0), (2**63 - 1, 2**63 - 1, 2**32 - 1), (1, 2**32, 5), (987654321, 123456789012, 77)]


@pytest.mark.parametrize(("seed", "sample", "step"), NUMBERS)
def test_normal_draws_follow_the_counter_layout(seed, sample, step):
    p = draw([sample], "normal", seed, step)
    cut, paste = (random_words(seed, sample, step, CUT_PASTE, block) for block in range(2))
    area, aspect = (0.02 + unit(cut[0]) * 0.13) * 65536, 0.3 * (1 / 0.09) ** unit(cut[1])
    # The sizes are rounded from float32, which may fall to the other side of a half.
    assert p["cut_w"][0] == pytest.approx(math.sqrt(area * aspect), abs=0.501)
    assert p["cut_h"][0] == pytest.approx(math.sqrt(area / aspect), abs=0.501)
    room_y, room_x = 257 - int(p["cut_h"][0]), 257 - int(p["cut_w"][0])
    assert (p["top"][0], p["left"][0]) == (below(cut[2], room_y), below(cut[3], room_x))
    assert (p["paste_top"][0], p["paste_left"][0]) == (below(paste[0], room_y), below(paste[1], room_x))
    # float32 against float64: an ulp or two.
    assert p["brightness"][0] == pytest.approx(0.9 + unit(paste[2]) * 0.2, rel=3e-7)
    assert p["contrast"][0] == pytest.approx(0.9 + unit(paste[3]) * 0.2, rel=3e-7)
    assert (p["kind"][0], p["cosine"][0], p["sine"][0]) == (0, 65536, 0)


@pytest.mark.parametrize(("seed", "sample", "step"), NUMBERS)
def test_scar_draws_follow_the_counter_layout(seed, sample, step):
    p = draw([sample], "scar", seed, step)
    cut, paste, jitter = (random_words(seed, sample, step, SCAR, block) for block in range(3))
    assert p["cut_w"][0] == pytest.approx(2 + unit(cut[0]) * 14, abs=0.501)
    assert p["cut_h"][0] == pytest.approx(10 + unit(cut[1]) * 15, abs=0.501)
    assert p["top"][0] == below(cut[2], 257 - int(p["cut_h"][0]))
    assert p["left"][0] == below(cut[3], 257 - int(p["cut_w"][0]))
    angle = math.radians(-45 + unit(paste[0]) * 90)
    assert p["cosine"][0] == pytest.approx(65536 * math.cos(angle), abs=0.6)  # rounded from float32
    assert p["sine"][0] == pytest.approx(65536 * math.sin(angle), abs=0.6)
    box = reference.turned(Image.new("L", (int(p["cut_w"][0]), int(p["cut_h"][0]))), scalar_cut(p)).size
    assert p["paste_top"][0] == below(paste[1], 257 - box[1])
    assert p["paste_left"][0] == below(paste[2], 257 - box[0])
    assert p["brightness"][0] == pytest.approx(0.9 + unit(jitter[0]) * 0.2, rel=3e-7)
    assert p["contrast"][0] == pytest.approx(0.9 + unit(jitter[1]) * 0.2, rel=3e-7)
    assert p["kind"][0] == 1


def scalar_cut(p):
    return reference.Cut(*(p[name][0].item() for name in CutPasteParams._fields))


def test_union_is_either_half_of_the_time():
    index = range(COUNT)
    union, normal, scar = (draw(index, variant, seed=9) for variant in ("union", "normal", "scar"))
    chosen = union["kind"] == 1
    assert chosen[:50].tolist() == [below(random_words(9, i, 0, UNION, 0)[0], 2) == 1 for i in range(50)]
    assert stats.binomtest(int(chosen.sum()), COUNT, 0.5).pvalue > SIGNIFICANCE
    for name, column in union.items():
        assert np.array_equal(column, np.where(chosen, scar[name], normal[name])), name


def test_draws_of_today_are_those_of_tomorrow():
    """Recorded results rest on these numbers: a change of the draw must be a decision, not an accident."""
    for variant, golden in GOLDEN.items():
        p = draw([0, 1], variant)
        assert {name: p[name].tolist() for name in columns_of(CutPasteParams).ints} == golden


GOLDEN = {
    "normal": {
        "kind": [0, 0],
        "cut_h": [92, 38],
        "cut_w": [101, 54],
        "top": [103, 167],
        "left": [104, 103],
        "cosine": [65536, 65536],
        "sine": [0, 0],
        "paste_top": [151, 67],
        "paste_left": [48, 19],
    },
    "scar": {
        "kind": [1, 1],
        "cut_h": [11, 23],
        "cut_w": [5, 14],
        "top": [18, 166],
        "left": [2, 146],
        "cosine": [55675, 61643],
        "sine": [-34572, -22252],
        "paste_top": [235, 148],
        "paste_left": [2, 183],
    },
}


def is_uniform(values, low, high):
    assert values.min() >= low
    assert values.max() <= high
    return stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > SIGNIFICANCE


def test_normal_area_and_aspect():
    # On a large image the sizes' rounding is too small for the test to see, and the image clamps nothing.
    p = draw(range(COUNT), "normal", seed=5, shape=(8192, 8192))
    assert is_uniform(p["cut_h"].astype(float) * p["cut_w"] / 8192**2, 0.0199, 0.1501)
    assert is_uniform(np.log(p["cut_w"] / p["cut_h"]), math.log(0.299), -math.log(0.299))


def test_scar_sizes_and_angle():
    p = draw(range(COUNT), "scar", seed=6, shape=(8192, 8192))  # 32 times as long as at 256
    assert is_uniform(p["cut_w"], 2 * 32 - 0.5, 16 * 32 + 0.5)
    assert is_uniform(p["cut_h"], 10 * 32 - 0.5, 25 * 32 + 0.5)
    degrees = np.degrees(np.arctan2(p["sine"], p["cosine"]))
    assert is_uniform(degrees, -45.001, 45.001)  # cosine and sine are rounded
    assert np.abs(np.hypot(p["cosine"], p["sine"]) - 65536).max() <= 1
    small = draw(range(COUNT), "scar", seed=6)
    counts = np.bincount(small["cut_w"], minlength=17)[2:]
    # Rounded from [2, 16]: the ends are half as frequent as the others.
    expected = np.r_[0.5, np.ones(13), 0.5] * COUNT / 14
    assert stats.chisquare(counts, expected).pvalue > SIGNIFICANCE


@pytest.mark.parametrize("variant", ["normal", "scar"])
def test_places_are_uniform_over_where_the_box_fits(variant):
    p = draw(range(COUNT), variant, seed=7)
    noise = np.random.default_rng(1).random((4, COUNT))
    along, across = np.abs(p["cosine"].astype(np.int64)), np.abs(p["sine"].astype(np.int64))
    sides = {}
    for axis, own, other in (("paste_top", "cut_h", "cut_w"), ("paste_left", "cut_w", "cut_h")):
        extent = (along * p[own] + across * p[other]) / 65536
        sides[axis] = np.ceil((p[own] + extent) / 2) - np.floor((p[own] - extent) / 2)
    sides |= {"top": p["cut_h"], "left": p["cut_w"]}
    for (place, side), spread in zip(sides.items(), noise, strict=True):
        room = 256 - side + 1
        assert np.all((p[place] >= 0) & (p[place] < room))
        # Spread evenly within its cell, the discrete position is uniform on [0, 1].
        assert is_uniform((p[place] + spread) / room, 0, 1)
    for factor in ("brightness", "contrast"):
        assert is_uniform(p[factor], np.float32(0.9), np.float32(1.1))


@pytest.mark.parametrize("variant", ["normal", "scar"])
def test_draws_are_independent(variant):
    p = draw(range(COUNT), variant, seed=8)
    names = ["cut_h", "cut_w", "top", "left", "paste_top", "paste_left", "brightness", "contrast"]
    if variant == "normal":
        p["cut_h"] = p["cut_h"].astype(float) * p["cut_w"]  # the area; width and aspect are not independent
        names.remove("cut_w")
        size = {"top": 0, "left": 0, "paste_top": 0, "paste_left": 0}
        size |= dict.fromkeys(("left", "paste_left"), draw(range(COUNT), variant, seed=8)["cut_w"])
        size |= dict.fromkeys(("top", "paste_top"), draw(range(COUNT), variant, seed=8)["cut_h"])
        for name, side in size.items():
            p[name] = p[name] / (257 - side)
    else:
        names.append("sine")
    correlation = stats.spearmanr(np.stack([p[name] for name in names], axis=1)).statistic
    if variant == "scar":  # how far a box can go depends on its size: a few percent of correlation
        assert np.abs(correlation - np.eye(len(names))).max() < 0.1
    else:  # 21 pairs, each within five standard deviations
        assert np.abs(correlation - np.eye(len(names))).max() < 5 / math.sqrt(COUNT)


def test_variants_share_no_random_numbers():
    normal, scar = draw(range(COUNT), "normal"), draw(range(COUNT), "scar")
    for name in ("brightness", "contrast", "top", "paste_left"):
        assert abs(stats.spearmanr(normal[name], scar[name]).statistic) < 4 / math.sqrt(COUNT)


def test_small_images_clamp():
    for variant in ("normal", "scar"):
        p = draw(range(2000), variant, shape=(16, 512), config=WILD)
        assert p["cut_h"].min() >= 1
        assert np.all(p["top"] + p["cut_h"] <= 16)
        assert np.all(p["left"] + p["cut_w"] <= 512)
        assert np.all((p["paste_top"] >= 0) & (p["paste_top"] < 16))
