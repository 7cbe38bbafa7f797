"""AnatPaste as a transform of albumentations. Tried with albumentations 2.0.8.

    pip install albumentations
    python examples/albumentations_transform.py

It takes what albumentations hands over, (H, W) or (H, W, C) arrays of uint8 or floats in [0, 1], and draws
from the pipeline's generator: `A.Compose([...], seed=0)` repeats itself.
"""

from __future__ import annotations

from typing import Any

import albumentations as A
import numpy as np
from numpy.typing import NDArray

import anatpaste_gpu
from anatpaste_gpu.data import load_dataset


class AnatPaste(A.ImageOnlyTransform):
    """Pastes into the lungs; masks, boxes and keypoints pass through.

    Args:
        config: what is drawn, and from where.
        p: probability that an image is augmented.
    """

    def __init__(self, config: anatpaste_gpu.AnatPasteConfig | None = None, p: float = 0.5) -> None:
        super().__init__(p=p)
        self.config = config
        self._paste = anatpaste_gpu.AnatPaste(config, seed=0)

    def get_params(self) -> dict[str, int]:
        """A number for the image, from which its draws follow. (albumentations' hook.)"""
        return {"number": self.py_random.randrange(2**62)}

    def apply(self, img: NDArray[Any], number: int, **params: Any) -> NDArray[Any]:
        """The augmented image. (albumentations' hook.)"""
        twin: NDArray[Any] = self._paste(np.ascontiguousarray(img), index=number)
        return twin


def main() -> None:
    """Half of some phantoms become augmented twins, and all are flipped now and then."""
    images = load_dataset("demo", image_size=128, progress=False, train_size=16).train.images[:, 0].numpy()
    transform = A.Compose([AnatPaste(p=0.5)], seed=0)
    changed = sum(not np.array_equal(transform(image=image)["image"], image) for image in images)
    print(f"{changed} of {len(images)} images are augmented twins.")


if __name__ == "__main__":
    main()
