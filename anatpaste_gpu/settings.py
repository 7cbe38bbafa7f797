"""What one augmentation is made of: every number of the paper's Algorithm 1 and equation 1, in one place."""

from __future__ import annotations

import dataclasses
import math

from .setting_checks import CheckedConfig, exact_logarithms

#: Side of the square image at which the paper gives its pixel lengths and areas.
REFERENCE_SIDE = 256
AREA_FILTERS = ("component", "bounding_box")
PATCH_BACKGROUNDS = ("black", "image")
_MAX_MARGIN = 128.0
_MAX_SIGMA = 64.0


def length_scale(height: int, width: int) -> float:
    """Factor from pixels at 256 x 256 to pixels of a ``height`` x ``width`` image."""
    return math.sqrt(height * width) / REFERENCE_SIDE


@dataclasses.dataclass(frozen=True)
class AnatPasteConfig(CheckedConfig):
    """Settings of lung segmentation, image jitter and AnatPaste (Sato et al., arXiv 2205.04282).

    The defaults are the paper's. Lengths are in pixels of a 256 x 256 image; on an H x W image they are
    multiplied by ``length_scale(H, W) = sqrt(H * W) / 256``, and areas by its square.

    Raises:
        TypeError: a field has the wrong type.
        ValueError: a field is out of its range.
    """

    # CLAHE clip limit, as scikit-image counts it: a fraction of the tile's pixels, in (0, 1].
    clip_limit: float = 0.01
    # Lung components smaller than this many pixels are dropped; None means 400 at
    # 256 x 256, scaled by the area.
    area_threshold: float | None = None
    # What a dropped component loses: its own pixels ("component"), or all within its box, as the official
    # code does.
    area_filter: str = "component"
    # The patch covers this fraction of the image, drawn uniformly.
    patch_area: tuple[float, float] = (0.02, 0.15)
    # The patch's width / height, drawn uniformly in its logarithm.
    patch_aspect: tuple[float, float] = (0.3, 1 / 0.3)
    # The figure keeps this far inside the patch on every side; rounded to whole pixels after scaling.
    margin: float = 10.0
    # Weight of the pasted patch at the figure's core, drawn uniformly.
    value_range: tuple[float, float] = (0.59, 1.0)
    # Standard deviation of the figure's Gaussian blur, drawn uniformly.
    blur_sigma: tuple[float, float] = (0.0, 15.0)
    # Draw the value in whole 255ths and sigma in whole pixels (at 256), both ends included, as the official
    # code does.
    integer_draws: bool = False
    # Brightness and contrast factors of the whole image (image_jitter only).
    image_jitter: tuple[float, float] = (0.9, 1.1)
    # Brightness and contrast factors of the patch.
    patch_jitter: tuple[float, float] = (0.9, 1.1)
    # What lies beyond the patch: "black" (the paper: blur lets a little of it through) or "image" (left
    # unchanged).
    patch_background: str = "black"
    # False pastes anywhere (the paper's ablation without segmentation).
    use_segmentation: bool = True
    # False keeps the figure's edge hard (the paper's ablation without blur).
    use_blur: bool = True

    def __post_init__(self) -> None:
        self._set_number("clip_limit", 0.0, 1.0, open_low=True)
        if self.area_threshold is not None:
            self._set_number("area_threshold", 0.0, float(2**31 - 1))
        self._check_choice("area_filter", AREA_FILTERS)
        self._check_choice("patch_background", PATCH_BACKGROUNDS)
        self._set_number("margin", 0.0, _MAX_MARGIN)
        self._set_range("patch_area", 0.0, 1.0, open_low=True)
        self._set_range("patch_aspect", 1 / 64, 64.0)
        self._set_range("value_range", 0.0, 1.0)
        self._set_range("blur_sigma", 0.0, _MAX_SIGMA)
        self._set_range("image_jitter", 0.0, 4.0)
        self._set_range("patch_jitter", 0.0, 4.0)
        for name in ("integer_draws", "use_segmentation", "use_blur"):
            self._set_flag(name)
        if self.integer_draws:
            self._check_whole("blur_sigma", 1)
            self._check_whole("value_range", 255)
        exact_logarithms(self.patch_aspect)

    @classmethod
    def paper(cls) -> AnatPasteConfig:
        """The augmentation as the paper describes it (the defaults)."""
        return cls()

    @classmethod
    def official(cls) -> AnatPasteConfig:
        """The augmentation as the published code has it: box-shaped area filter and whole-number draws."""
        return cls(
            area_filter="bounding_box",
            value_range=(150 / 255, 254 / 255),
            blur_sigma=(0.0, 14.0),
            integer_draws=True,
        )

    @classmethod
    def without_segmentation(cls) -> AnatPasteConfig:
        """The paper's ablation: the patch may land anywhere."""
        return cls(use_segmentation=False)

    @classmethod
    def without_blur(cls) -> AnatPasteConfig:
        """The paper's ablation: the figure is pasted with a hard edge."""
        return cls(use_blur=False)

    def min_area(self, height: int, width: int) -> int:
        """Smallest component, in pixels, that the area filter keeps on a ``height`` x ``width`` image."""
        if self.area_threshold is not None:
            return math.ceil(self.area_threshold)
        return -(-400 * height * width // REFERENCE_SIDE**2)

    def length_scale(self, height: int, width: int) -> float:
        """Factor from pixels at 256 x 256 to pixels of a ``height`` x ``width`` image."""
        return length_scale(height, width)

    def margin_pixels(self, height: int, width: int) -> int:
        """``margin`` in whole pixels of a ``height`` x ``width`` image, halves rounded up."""
        return math.floor(self.margin * self.length_scale(height, width) + 0.5)

    def effective_blur(self) -> tuple[float, float]:
        """The range of sigma actually drawn from, in pixels at 256 x 256."""
        return self.blur_sigma if self.use_blur else (0.0, 0.0)

    def log_aspect(self) -> tuple[float, float]:
        """Natural logarithms of ``patch_aspect``, correctly rounded."""
        return exact_logarithms(self.patch_aspect)

    def _check_whole(self, name: str, unit: int) -> None:
        """With ``integer_draws`` the ends of a range must themselves be drawable."""
        for bound in getattr(self, name):
            if abs(bound * unit - round(bound * unit)) > 1e-6:
                raise ValueError(
                    f"AnatPasteConfig.{name} must have ends that are multiples of 1/{unit} "
                    f"when integer_draws is set, got {getattr(self, name)!r}."
                )


@dataclasses.dataclass(frozen=True)
class CutPasteConfig(CheckedConfig):
    """Settings of CutPaste (Li et al., "CutPaste: Self-Supervised Learning for Anomaly Detection and
    Localization", CVPR 2021).

    The defaults are that paper's. Lengths are in pixels of a 256 x 256 image and are multiplied by
    ``sqrt(H * W) / 256`` on an H x W image.

    Raises:
        TypeError: a field has the wrong type.
        ValueError: a field is out of its range.
    """

    # Normal: the patch covers this fraction of the image, drawn uniformly.
    patch_area: tuple[float, float] = (0.02, 0.15)
    # Normal: the patch's width / height, drawn uniformly in its logarithm.
    patch_aspect: tuple[float, float] = (0.3, 1 / 0.3)
    # Scar: width and length (its height before it is turned), drawn uniformly and rounded to whole pixels.
    scar_width: tuple[float, float] = (2.0, 16.0)
    scar_length: tuple[float, float] = (10.0, 25.0)
    # Scar: degrees it is turned by, counterclockwise, drawn uniformly.
    scar_rotation: tuple[float, float] = (-45.0, 45.0)
    # Brightness and contrast factors of the patch or scar.
    patch_jitter: tuple[float, float] = (0.9, 1.1)

    def __post_init__(self) -> None:
        self._set_range("patch_area", 0.0, 1.0, open_low=True)
        self._set_range("patch_aspect", 1 / 64, 64.0)
        self._set_range("scar_width", 0.0, float(REFERENCE_SIDE))
        self._set_range("scar_length", 0.0, float(REFERENCE_SIDE))
        self._set_range("scar_rotation", -180.0, 180.0)
        self._set_range("patch_jitter", 0.0, 4.0)
        exact_logarithms(self.patch_aspect)

    def log_aspect(self) -> tuple[float, float]:
        """Natural logarithms of ``patch_aspect``, correctly rounded."""
        return exact_logarithms(self.patch_aspect)

    def scar_pixels(self, height: int, width: int) -> tuple[float, float, float, float]:
        """``scar_width`` and ``scar_length`` in pixels of a ``height`` x ``width`` image."""
        scale = length_scale(height, width)
        (width_low, width_high), (length_low, length_high) = self.scar_width, self.scar_length
        return width_low * scale, width_high * scale, length_low * scale, length_high * scale
