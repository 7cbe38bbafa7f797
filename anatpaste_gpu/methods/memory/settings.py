"""What --memory.NAME sets."""

from __future__ import annotations

import dataclasses
from typing import Literal

from anatpaste_gpu.setting_types import Count, NotNegative, Positive, Section, WholeNumber


@dataclasses.dataclass(frozen=True)
class MemorySettings(Section):
    """Which features are remembered, how many, and what is made of the distances to them."""

    layers: str | None = None
    """Names of the backbone's modules whose maps are the features, separated by commas, such as
    "layer2,layer3"; null takes the last ones with an eighth and a sixteenth of the image's side."""

    scales: Literal["coarsest", "finest", "apart"] = "coarsest"
    """Several layers' maps: joined at the "coarsest" or the "finest" one's grid to one vector a patch, or
    "apart": a memory each, whose distance maps are added at the finest grid."""

    pooling: Count = 3
    """Side of the square, in cells of a map, over which features are averaged; odd."""

    scaling: Literal["none", "standardise", "whiten"] = "whiten"
    """What is done to features first, after taking off their means over the normal patches: nothing, dividing
    each by its deviation, or making all of them uncorrelated with deviation 1."""

    shrinkage: Positive = 0.1
    """How much of their covariance is replaced by a multiple of the identity before it is used to whiten; at
    most 1."""

    unit: bool = True
    """Divide every patch's features by their length, so that distances are those of directions."""

    contrast: Literal["none", "clahe", "equalise", "standardise"] = "clahe"
    """What is done to each image's grey values first: nothing, CLAHE as the lung segmentation does it, its
    histogram made flat, or one mean and deviation for all."""

    smoothing: NotNegative = 0.0
    """Standard deviation, in pixels, of a Gaussian blur before the contrast; 0 for none. Features tell how
    sharp an image is, and images that came another way are sharper or softer without being ill."""

    budget: Count = 64
    """Mebibytes that the remembered patches may take in all, in float32."""

    candidates: Count = 1024
    """Mebibytes of normal patches that those to remember are chosen from; of more images a random part."""

    projection: WholeNumber = 32
    """Random directions in which distances are taken while patches are chosen; 0 takes the features."""

    reach: WholeNumber | None = 1
    """Patches are compared with those remembered from grid cells at most so many rows and columns away; null
    compares with all."""

    position: NotNegative = 0.0
    """Weight of the position in the distance: so much is added for the image's width, at right angles to the
    features."""

    prior: Literal["none", "inside", "weighted"] = "weighted"
    """What lungs do: nothing; patches count only where at least `inside` of the training images have lungs;
    or their distances are multiplied by that share."""

    inside: Positive = 0.3
    """The least share of training images with lungs, for prior "inside"."""

    score: Literal["mean", "top", "percentile", "max"] = "mean"
    """An image's score out of its patches' distances: the mean of all, the mean of the largest `share`, the
    least of these, or the largest."""

    share: Positive = 0.1
    """The largest share of patches, for score "top" and "percentile"; at most 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pooling % 2 == 0:
            raise ValueError(f"pooling must be odd, got {self.pooling}.")
        for name in ("inside", "share", "shrinkage"):
            if getattr(self, name) > 1:
                raise ValueError(f"{name} must be at most 1, got {getattr(self, name)}.")
        if self.layers is not None and not all(self.layer_names):
            raise ValueError(f"layers must be names separated by commas, got {self.layers!r}.")

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The names in `layers`; none where it is null."""
        return () if self.layers is None else tuple(name.strip() for name in self.layers.split(","))
