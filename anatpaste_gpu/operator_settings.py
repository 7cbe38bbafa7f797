"""The settings of the random operators as the compiled ones take them: one flat list of numbers each.

The fields and their order are those of csrc/common/settings.h, which `check_compiled` makes sure of when the
package is imported: were two swapped, every draw would come from the wrong range without a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .settings import AnatPasteConfig, CutPasteConfig

#: The field `variant` is the place in this tuple.
VARIANTS = ("normal", "scar", "union")


class ImageJitterSettings(NamedTuple):
    """Range of the factors of brightness and contrast."""

    jitter_low: float
    jitter_high: float


class AnatPasteSettings(NamedTuple):
    """What a paste is drawn from, for images of one size."""

    #: The patch's area in pixels, and the logarithm of its width / height.
    area_low: float
    area_high: float
    log_aspect_low: float
    log_aspect_high: float
    #: Pixels.
    margin: int
    #: In [0, 1], or 255ths where drawn as integers.
    value_low: float
    value_high: float
    #: Pixels at 256 x 256, and the factor from there to pixels of these images.
    sigma_low: float
    sigma_high: float
    sigma_scale: float
    integer_draws: bool
    jitter_low: float
    jitter_high: float
    #: Whether the image itself lies beyond the patch, rather than black.
    image_background: bool


class CutPasteSettings(NamedTuple):
    """What a CutPaste is drawn from, for images of one size."""

    variant: int
    #: The normal patch's area in pixels, and the logarithm of its width / height.
    area_low: float
    area_high: float
    log_aspect_low: float
    log_aspect_high: float
    #: Pixels.
    scar_width_low: float
    scar_width_high: float
    scar_length_low: float
    scar_length_high: float
    #: Degrees.
    rotation_low: float
    rotation_high: float
    jitter_low: float
    jitter_high: float


#: Operator -> its settings; those that only draw share them.
SETTINGS: dict[str, type[ImageJitterSettings] | type[AnatPasteSettings] | type[CutPasteSettings]] = {
    "image_jitter": ImageJitterSettings,
    "anat_paste": AnatPasteSettings,
    "cut_paste": CutPasteSettings,
}


def image_jitter_settings(factors: tuple[float, float]) -> list[float]:
    """The argument `settings` of image_jitter and draw_image_jitter."""
    low, high = factors
    return _flat(ImageJitterSettings(jitter_low=low, jitter_high=high))


def anat_paste_settings(config: AnatPasteConfig, height: int, width: int) -> list[float]:
    """The argument `settings` of anat_paste and draw_anat_paste, for images of height x width."""
    (area_low, area_high), pixels = config.patch_area, height * width
    log_aspect_low, log_aspect_high = config.log_aspect()
    (value_low, value_high), levels = config.value_range, 255.0 if config.integer_draws else 1.0
    sigma_low, sigma_high = config.effective_blur()
    jitter_low, jitter_high = config.patch_jitter
    return _flat(
        AnatPasteSettings(
            area_low=area_low * pixels,
            area_high=area_high * pixels,
            log_aspect_low=log_aspect_low,
            log_aspect_high=log_aspect_high,
            margin=config.margin_pixels(height, width),
            value_low=value_low * levels,
            value_high=value_high * levels,
            sigma_low=sigma_low,
            sigma_high=sigma_high,
            sigma_scale=config.length_scale(height, width),
            integer_draws=config.integer_draws,
            jitter_low=jitter_low,
            jitter_high=jitter_high,
            image_background=config.patch_background == "image",
        )
    )


def cut_paste_settings(variant: str, config: CutPasteConfig, height: int, width: int) -> list[float]:
    """The argument `settings` of cut_paste and draw_cut_paste, for images of height x width."""
    (area_low, area_high), pixels = config.patch_area, height * width
    log_aspect_low, log_aspect_high = config.log_aspect()
    scar_width_low, scar_width_high, scar_length_low, scar_length_high = config.scar_pixels(height, width)
    rotation_low, rotation_high = config.scar_rotation
    jitter_low, jitter_high = config.patch_jitter
    return _flat(
        CutPasteSettings(
            variant=VARIANTS.index(variant),
            area_low=area_low * pixels,
            area_high=area_high * pixels,
            log_aspect_low=log_aspect_low,
            log_aspect_high=log_aspect_high,
            scar_width_low=scar_width_low,
            scar_width_high=scar_width_high,
            scar_length_low=scar_length_low,
            scar_length_high=scar_length_high,
            rotation_low=rotation_low,
            rotation_high=rotation_high,
            jitter_low=jitter_low,
            jitter_high=jitter_high,
        )
    )


def check_compiled(compiled: Mapping[str, tuple[str, ...]]) -> None:
    """Checks that these settings have the fields of the compiled ones, in their order.

    Args:
        compiled: Operator -> the names of its fields: `SETTINGS` of the compiled module.

    Raises:
        ImportError: They differ, so that the module was built from other sources.
    """
    for operator, settings in SETTINGS.items():
        check_fields(f"the settings of {operator}", settings._fields, compiled.get(operator, ()))


def check_fields(what: str, fields: tuple[str, ...], compiled: tuple[str, ...]) -> None:
    """Checks that fields are those of the compiled module, in its order.

    Args:
        what: Has these fields, for the sentence.
        fields: Their names here.
        compiled: Their names in the compiled module, or nothing where it has none.

    Raises:
        ImportError: They differ, so that the module was built from other sources.
    """
    if fields != compiled:
        raise ImportError(
            f"{what} must be {', '.join(fields)}, but the compiled module has "
            f"{', '.join(compiled) or 'none'}; build it again with "
            "`pip install --no-build-isolation -e .` in the checkout."
        )


def _flat(settings: ImageJitterSettings | AnatPasteSettings | CutPasteSettings) -> list[float]:
    """Whole numbers and truth values travel as reals too, which hold them exactly."""
    return [float(value) for value in settings]
