"""Drawn parameters: against Philox in Python's integers, and against the distributions they should have."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from anatpaste_gpu.operator_params import AnatPasteParams, from_columns
from anatpaste_gpu.operator_settings import anat_paste_settings, image_jitter_settings
from anatpaste_gpu.settings import AnatPasteConfig
from dev import backends

from .references.augmentation import below, random_words, unit

# One sample a test, drawn from a fixed seed: a p-value below this would come once in ten thousand seeds.
SIGNIFICANCE = 1e-4
COUNT = 20_000
IMAGE_JITTER, ANAT_PASTE = 1, 2  # the pinned domains


def draw(index, seed=0, step=0, *, config=None, shape=(256, 256), lung=1000):
    """Drawn parameters as a dict of arrays, with the centre's rank among the lung pixels."""
    config = config or AnatPasteConfig()
    lungs = torch.full((len(index),), lung, dtype=torch.int32)
    settings = anat_paste_settings(config, *shape)
    ints, reals, rank = torch.ops.anatpaste.draw_anat_paste(
        torch.as_tensor(index), torch.tensor(seed), torch.tensor(step), lungs, *shape, settings
    )
    params = from_columns(AnatPasteParams, ints, reals)
    return {name: field.numpy() for name, field in params._asdict().items()} | {"rank": rank.numpy()}


@pytest.fixture(scope="module")
def drawn():
    return draw(range(COUNT), seed=20240501)


def is_uniform(values, low, high):
    assert values.min() >= low
    assert values.max() <= high
    return stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > SIGNIFICANCE


@pytest.mark.parametrize(
    ("seed", "sample", "step"),
    [
        (0, 0, 0),
        (2**63 - 1, 2**63 - 1, 2**32 - 1),
        (1, 2**32, 5),
        (2**32, 1, 5),
        (987654321, 123456789012, 77),
    ],
)
def test_draws_follow_the_counter_layout(seed, sample, step):
    p = draw([sample], seed, step, lung=4321)
    cut, figure, jitter = (random_words(seed, sample, step, ANAT_PASTE, block) for block in range(3))
    area = (0.02 + unit(cut[0]) * 0.13) * 65536
    aspect = 0.3 * (1 / 0.09) ** unit(cut[1])
    # The sizes are rounded from float32, which may fall to the other side of a half.
    assert p["cut_w"][0] == pytest.approx(math.sqrt(area * aspect), abs=0.501)
    assert p["cut_h"][0] == pytest.approx(math.sqrt(area / aspect), abs=0.501)
    assert p["top"][0] == below(cut[2], 256 - int(p["cut_h"][0]) + 1)
    assert p["left"][0] == below(cut[3], 256 - int(p["cut_w"][0]) + 1)
    assert p["rank"][0] == below(figure[0], 4321)
    assert p["kind"][0] == below(figure[1], 2)
    assert p["half_h"][0] == p["cut_h"][0] // 2 - 10
    assert p["half_w"][0] == p["cut_w"][0] // 2 - 10
    # float32 against float64: an ulp or two.
    assert p["value"][0] == pytest.approx(0.59 + unit(figure[2]) * 0.41, rel=3e-7)
    assert p["sigma"][0] == pytest.approx(unit(figure[3]) * 15, rel=3e-7)
    assert p["brightness"][0] == pytest.approx(0.9 + unit(jitter[0]) * 0.2, rel=3e-7)
    assert p["contrast"][0] == pytest.approx(0.9 + unit(jitter[1]) * 0.2, rel=3e-7)


def test_image_jitter_follows_the_counter_layout():
    seed, sample, step = 31, 2**40 + 1, 12
    arguments = (torch.tensor([sample]), torch.tensor(seed), torch.tensor(step))
    factors = torch.ops.anatpaste.draw_image_jitter(*arguments, image_jitter_settings((0.9, 1.1)))
    words = random_words(seed, sample, step, IMAGE_JITTER, 0)
    # float32 against float64: an ulp or two.
    assert factors[0].tolist() == pytest.approx([0.9 + unit(word) * 0.2 for word in words[:2]], rel=3e-7)


def test_draws_of_today_are_those_of_tomorrow():
    """Recorded results rest on these numbers: a change of the draw must be a decision, not an accident."""
    p = draw([0, 1], seed=0)
    assert {name: p[name].tolist() for name in GOLDEN} == GOLDEN


GOLDEN = {
    "cut_h": [96, 67],
    "cut_w": [58, 28],
    "top": [142, 26],
    "left": [98, 32],
    "kind": [1, 1],
    "half_h": [38, 23],
    "half_w": [19, 4],
    "rank": [929, 49],
}


def test_value_sigma_and_jitter_are_uniform(drawn):
    assert is_uniform(drawn["value"], 0.59, 1.0)
    assert is_uniform(drawn["sigma"], 0.0, 15.0)
    assert is_uniform(drawn["brightness"], np.float32(0.9), np.float32(1.1))
    assert is_uniform(drawn["contrast"], np.float32(0.9), np.float32(1.1))


def test_patch_area_and_aspect():
    # On a large image the sizes' rounding is too small for the test to see, and the image clamps nothing.
    p = draw(range(COUNT), seed=5, shape=(8192, 8192))
    area = p["cut_h"].astype(float) * p["cut_w"] / 8192**2
    aspect = np.log(p["cut_w"] / p["cut_h"])
    assert stats.kstest(area, stats.uniform(0.02, 0.13).cdf).pvalue > SIGNIFICANCE
    assert stats.kstest(aspect, stats.uniform(np.log(0.3), -2 * np.log(0.3)).cdf).pvalue > SIGNIFICANCE
    assert abs(stats.spearmanr(area, aspect).statistic) < 4 / math.sqrt(COUNT)  # four standard deviations


def test_patch_position_is_uniform_over_where_it_fits(drawn):
    for start, size in (("top", "cut_h"), ("left", "cut_w")):
        room = 256 - drawn[size] + 1
        assert np.all((drawn[start] >= 0) & (drawn[start] < room))
        # Spread evenly within its cell, the discrete position is uniform on [0, 1].
        noise = np.random.default_rng(1).random(COUNT)
        assert is_uniform((drawn[start] + noise) / room, 0, 1)


def test_kinds_are_equally_likely(drawn):
    ellipses = int(drawn["kind"].sum())
    assert set(np.unique(drawn["kind"])) == {0, 1}
    assert stats.binomtest(ellipses, COUNT, 0.5).pvalue > SIGNIFICANCE


def test_draws_are_independent(drawn):
    names = ["cut_h", "top", "left", "kind", "rank", "value", "sigma", "brightness", "contrast"]
    fractions = {name: drawn[name].astype(float) for name in names}
    fractions["top"] = drawn["top"] / (256 - drawn["cut_h"] + 1)
    fractions["left"] = drawn["left"] / (256 - drawn["cut_w"] + 1)
    correlation = stats.spearmanr(np.stack([fractions[name] for name in names], axis=1)).statistic
    # 36 pairs, each within five standard deviations.
    assert np.abs(correlation - np.eye(len(names))).max() < 5 / math.sqrt(COUNT)


@pytest.mark.parametrize("changes", [{"seed": 1}, {"step": 1}, {"shift": 1}])
def test_neighbouring_seeds_steps_and_samples_are_unrelated(changes):
    first = draw(range(COUNT), 0, 0)
    shift = changes.get("shift", 0)
    second = draw(range(shift, COUNT + shift), changes.get("seed", 0), changes.get("step", 0))
    assert abs(stats.spearmanr(first["value"], second["value"]).statistic) < 4 / math.sqrt(COUNT)


def test_official_draws_are_whole_numbers():
    p = draw(range(COUNT), seed=3, config=AnatPasteConfig.official())
    values, sigmas = p["value"] * 255, p["sigma"]
    assert np.allclose(values, values.round(), atol=1e-4)  # 255 * float32(n / 255)
    for drawn_values, low, high in ((values.round(), 150, 254), (sigmas, 0, 14)):
        counts = np.bincount(drawn_values.astype(int), minlength=high + 1)
        assert counts[:low].sum() == 0
        assert len(counts) == high + 1
        assert stats.chisquare(counts[low:]).pvalue > SIGNIFICANCE


def test_lengths_scale_with_the_image():
    small, large = draw(range(100), shape=(256, 256)), draw(range(100), shape=(512, 1024))
    scale = math.sqrt(512 * 1024) / 256
    assert np.allclose(large["sigma"], small["sigma"] * scale, rtol=1e-6)  # one float32 product
    assert np.array_equal(large["half_h"], large["cut_h"] // 2 - 28)  # 10 * 2.83, rounded
    assert np.allclose(large["cut_h"], small["cut_h"] * scale, atol=scale)  # both rounded


def test_sizes_are_clamped_to_narrow_images():
    p = draw(range(2000), shape=(16, 512))
    assert p["cut_h"].max() == 16
    assert p["cut_h"].min() >= 1
    assert np.all(p["top"] + p["cut_h"] <= 16)
    assert np.all(p["left"] + p["cut_w"] <= 512)


def test_centres_are_uniform_over_lung_pixels(backend):
    mask = torch.zeros((1, 1, 20, 24), dtype=torch.bool)
    mask[0, 0, 3:9, 2:7] = True
    mask[0, 0, 12, 23] = mask[0, 0, 19, 0] = True
    # Plain torch and the executor that runs CUDA kernels on a CPU are slow; fewer draws then, 20 a pixel.
    count = 20_000 if backend in (backends.NATIVE, backends.CUDA) else 640
    images = torch.zeros((count, 1, 20, 24), dtype=torch.uint8)
    arguments = (torch.arange(count), torch.tensor(8), torch.tensor(0), None, None)
    settings = anat_paste_settings(AnatPasteConfig(), 20, 24)
    paste = backends.get_op(backend, "anat_paste")
    _, ints, _, _ = paste(images, mask.repeat(count, 1, 1, 1), *arguments, settings, False)
    hits = torch.zeros(20 * 24, dtype=torch.int64)
    hits.scatter_add_(0, (ints[:, 7] * 24 + ints[:, 8]).to(torch.int64), torch.ones(count, dtype=torch.int64))
    assert hits[~mask.flatten()].sum() == 0
    assert stats.chisquare(hits[mask.flatten()].numpy()).pvalue > SIGNIFICANCE


def test_centre_of_an_empty_mask_is_anywhere():
    count = 20_000
    images = torch.zeros((count, 1, 16, 16), dtype=torch.uint8)
    arguments = (torch.arange(count), torch.tensor(9), torch.tensor(0), None, None)
    settings = anat_paste_settings(AnatPasteConfig(), 16, 16)
    _, ints, _, _ = torch.ops.anatpaste.anat_paste(images, images.bool(), *arguments, settings, False)
    hits = np.bincount((ints[:, 7] * 16 + ints[:, 8]).numpy(), minlength=256)
    assert stats.chisquare(hits).pvalue > SIGNIFICANCE
