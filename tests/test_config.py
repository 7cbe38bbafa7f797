"""AnatPasteConfig: the paper's numbers, what is derived from them, and what is refused."""

from __future__ import annotations

import dataclasses
import math
import pickle

import pytest

from anatpaste_gpu.settings import AnatPasteConfig


def test_paper_is_the_default():
    config = AnatPasteConfig()
    assert config == AnatPasteConfig.paper()
    assert (config.patch_area, config.patch_aspect) == ((0.02, 0.15), (0.3, 1 / 0.3))
    assert (config.value_range, config.blur_sigma, config.margin) == ((0.59, 1.0), (0.0, 15.0), 10.0)
    assert (config.image_jitter, config.patch_jitter) == ((0.9, 1.1), (0.9, 1.1))
    assert (config.clip_limit, config.area_filter) == (0.01, "component")


def test_official():
    config = AnatPasteConfig.official()
    assert config.integer_draws
    assert config.area_filter == "bounding_box"
    assert [round(255 * value) for value in config.value_range] == [150, 254]
    assert config.blur_sigma == (0, 14)


def test_ablations_change_one_thing_each():
    paper = AnatPasteConfig()
    assert AnatPasteConfig.without_segmentation() == dataclasses.replace(paper, use_segmentation=False)
    assert AnatPasteConfig.without_blur() == dataclasses.replace(paper, use_blur=False)
    assert AnatPasteConfig.without_blur().effective_blur() == (0.0, 0.0)


@pytest.mark.parametrize(
    ("height", "width", "area", "scale", "margin"),
    [(256, 256, 400, 1, 10), (128, 128, 100, 0.5, 5), (224, 224, 307, 0.875, 9), (1024, 256, 1600, 2, 20)],
)
def test_scaling(height, width, area, scale, margin):
    config = AnatPasteConfig()
    assert config.min_area(height, width) == area
    assert config.length_scale(height, width) == scale
    assert config.margin_pixels(height, width) == margin


def test_given_area_threshold_is_not_scaled():
    assert AnatPasteConfig(area_threshold=99.5).min_area(1024, 1024) == 100
    assert AnatPasteConfig(area_threshold=0).min_area(16, 16) == 0


def test_log_aspect():
    low, high = AnatPasteConfig(patch_aspect=(0.5, 2.0)).log_aspect()
    assert low == -high
    assert high == pytest.approx(math.log(2), abs=1e-15)


def test_ranges_may_be_lists_and_configs_travel():
    config = AnatPasteConfig(blur_sigma=[1, 2])
    assert config.blur_sigma == (1.0, 2.0)
    assert hash(config) == hash(AnatPasteConfig(blur_sigma=(1, 2)))
    assert pickle.loads(pickle.dumps(config)) == config
    assert AnatPasteConfig(**dataclasses.asdict(config)) == config
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.margin = 3


@pytest.mark.parametrize(
    ("field", "value", "error", "message"),
    [
        ("clip_limit", 0, ValueError, "clip_limit must lie in (0.0, 1.0], got 0."),
        ("clip_limit", float("nan"), ValueError, "clip_limit must lie in (0.0, 1.0], got nan."),
        ("clip_limit", "1", TypeError, "clip_limit must be a number, got '1'."),
        ("area_threshold", -1, ValueError, "area_threshold must lie in [0.0, 2147483647.0], got -1."),
        (
            "area_filter",
            "box",
            ValueError,
            "area_filter must be one of ('component', 'bounding_box'), got 'box'.",
        ),
        (
            "patch_background",
            "white",
            ValueError,
            "patch_background must be one of ('black', 'image'), got 'white'.",
        ),
        ("margin", -1, ValueError, "margin must lie in [0.0, 128.0], got -1."),
        ("patch_area", (0, 0.1), ValueError, "patch_area must lie in (0.0, 1.0], got 0."),
        ("patch_area", (0.2, 0.1), ValueError, "patch_area must have low <= high, got (0.2, 0.1)."),
        ("patch_area", 0.1, TypeError, "patch_area must be a pair (low, high), got 0.1."),
        ("patch_aspect", (0.001, 1), ValueError, "patch_aspect must lie in [0.015625, 64.0], got 0.001."),
        ("value_range", (0.5, 1.5), ValueError, "value_range must lie in [0.0, 1.0], got 1.5."),
        ("blur_sigma", (0, 65), ValueError, "blur_sigma must lie in [0.0, 64.0], got 65."),
        ("image_jitter", (-0.1, 1), ValueError, "image_jitter must lie in [0.0, 4.0], got -0.1."),
        ("patch_jitter", (1, True), TypeError, "patch_jitter must be a number, got True."),
        ("use_blur", 1, TypeError, "use_blur must be True or False, got 1."),
        (
            "integer_draws",
            True,
            ValueError,
            "value_range must have ends that are multiples of 1/255 when integer_draws",
        ),
    ],
)
def test_refuses(field, value, error, message):
    with pytest.raises(error) as raised:
        AnatPasteConfig(**{field: value})
    assert f"AnatPasteConfig.{message}" in str(raised.value)
