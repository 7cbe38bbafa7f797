"""f-AnoGAN: a generative adversarial network of normal images, and an encoder that finds an image's code."""

from anatpaste_gpu.methods.fanogan.learner import FanoganLearner
from anatpaste_gpu.methods.fanogan.settings import FanoganSettings
from anatpaste_gpu.methods.protocol import BATCH_PARTS, CUDA_GRAPH, Method

# A step of the published size takes two cores most of a minute.
_SMALLER = {"fanogan.width": 16, "batch_size": 16}

#: What `register` takes: the names of this family for `--method`.
METHODS = (
    Method(
        "fanogan",
        "f-AnoGAN",
        lambda recipe, segmenter: FanoganLearner(recipe),
        weights="none",
        limits={
            BATCH_PARTS: "its gradient penalty is not summed part by part",
            CUDA_GRAPH: "its steps differ by their number",
        },
        family="fanogan",
        options=FanoganSettings,
        defaults={"image_size": 64, "batch_size": 64, "learning_rate": 1e-4},
        presets={
            # 195 epochs are the authors' 50,000 steps of the encoder.
            "paper": {"epochs": 488, "validate_every": 5},
            "cpu": _SMALLER,
            "demo": _SMALLER,
            "smoke": {**_SMALLER, "image_size": 32},
        },
    ),
)

__all__ = ["METHODS", "FanoganLearner", "FanoganSettings"]
