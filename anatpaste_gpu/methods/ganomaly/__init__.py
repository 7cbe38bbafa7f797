"""GANomaly: a generator that encodes, decodes and encodes again, trained on normal images alone."""

from anatpaste_gpu.methods.ganomaly.learner import GanomalyLearner
from anatpaste_gpu.methods.ganomaly.settings import GanomalySettings
from anatpaste_gpu.methods.protocol import BATCH_PARTS, Method

#: What `register` takes: the names of this family for `--method`.
METHODS = (
    Method(
        "ganomaly",
        "GANomaly",
        lambda recipe, segmenter: GanomalyLearner(recipe),
        weights="none",
        limits={BATCH_PARTS: "transposed convolutions are not summed part by part"},
        family="ganomaly",
        options=GanomalySettings,
        defaults={"image_size": 32, "batch_size": 64, "learning_rate": 2e-4},
        presets={"paper": {"epochs": 15, "validate_every": 1}},
    ),
)

__all__ = ["METHODS", "GanomalyLearner", "GanomalySettings"]
