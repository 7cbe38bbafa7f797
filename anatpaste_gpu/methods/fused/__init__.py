"""Several detectors as one: scores in robust standard deviations of normal images, added."""

from anatpaste_gpu.methods.fused.learner import FusedLearner, build, rebuild
from anatpaste_gpu.methods.fused.settings import FusedSettings, settings_of
from anatpaste_gpu.methods.lookup import get_method
from anatpaste_gpu.methods.protocol import Method
from anatpaste_gpu.methods.recipe import Recipe
from anatpaste_gpu.methods.weights import PRETRAINED, PRETRAINED_BACKBONE


def _trains(recipe: Recipe) -> bool:
    if settings_of(recipe).runs is not None:
        return False
    return any(get_method(part.method).trains(part) for part in _plain_parts(recipe))


def _segments(recipe: Recipe) -> bool:
    return any(get_method(part.method).segments(part) for part in _plain_parts(recipe))


def _adjusts(recipe: Recipe) -> bool:
    return any(get_method(part.method).adjusts(part) for part in _plain_parts(recipe))


def _plain_parts(recipe: Recipe) -> list[Recipe]:
    """The parts by their methods alone, which need not be buildable."""
    return [recipe.replace(method=part.method, options=None) for part in settings_of(recipe).named_parts]


#: What `register` takes: the names of this family for `--method`.
METHODS = (
    Method(
        "fused",
        "Fused",
        build,
        trains=_trains,
        segments=_segments,
        adjusts=_adjusts,
        family="fused",
        options=FusedSettings,
        defaults={"backbone": PRETRAINED_BACKBONE, "weights": PRETRAINED, "image_size": 224},
        # On two cores the part that is trained keeps the preset's side.
        presets={
            "smoke": {"fused.parts": "anatpaste@64,memory"},
            # A fifth of the preset's steps, for minutes count; what learnt so little counts for less.
            "demo": {"fused.parts": "anatpaste@64,memory", "fused.shares": "1,3", "epochs": 4},
            "cpu": {"fused.parts": "anatpaste@128,memory"},
            # Two memories that see through different networks; nothing is trained.
            "best": {
                "image_size": 256,
                "fused.parts": "memory,memory:tf_efficientnet_lite2",
                "fused.smoothing": 1.0,
            },
        },
        rebuild=rebuild,
    ),
)

__all__ = ["METHODS", "FusedLearner", "FusedSettings"]
