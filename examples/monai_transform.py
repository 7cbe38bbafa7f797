"""AnatPaste among MONAI's dictionary transforms. Tried with MONAI 1.6.1.

    pip install monai
    python examples/monai_transform.py

`AnatPasted` stands in `monai.transforms.Compose` and takes what stands there: samples (C, H, W) or collated
batches (B, C, H, W), MetaTensors among them, with MONAI's own seeds (`set_random_state`, `set_determinism`).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import Compose, EnsureTyped, MapTransform, RandomizableTransform, ScaleIntensityd
from monai.utils import TransformBackends, convert_to_dst_type, convert_to_tensor

import anatpaste_gpu
from anatpaste_gpu.data import load_dataset


class AnatPasted(RandomizableTransform, MapTransform):
    """Pastes into the lungs of the images under some keys; other entries pass through.

    Args:
        keys: of images, uint8, uint16 or floating point in [0, 1].
        config: what is drawn, and from where.
        prob: that a sample, or a whole batch, is augmented.
        label_key: gets 1 where it is augmented and 0 where not; None writes none.
        allow_missing_keys: as MONAI's transforms take it.
    """

    backend = (TransformBackends.TORCH,)

    def __init__(
        self,
        keys: KeysCollection,
        config: anatpaste_gpu.AnatPasteConfig | None = None,
        prob: float = 1.0,
        label_key: Hashable | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.label_key, self.paste = label_key, anatpaste_gpu.AnatPaste(config, seed=0)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The sample or batch with its images augmented; equal draws for all of its keys."""
        sample = dict(data)
        self.randomize(None)
        first = int(self.R.randint(2**31 - 1))
        if self._do_transform:
            for key in self.key_iterator(sample):
                image = convert_to_tensor(sample[key], track_meta=False)
                count = len(image) if image.ndim == 4 else 1
                index = first * 2**16 + torch.arange(count, device=image.device)
                sample[key], *_ = convert_to_dst_type(self.paste(image, index=index), sample[key])
        if self.label_key is not None:
            sample[self.label_key] = int(self._do_transform)
        return sample


def main() -> None:
    """Half of some phantoms become augmented twins."""
    images = load_dataset("demo", image_size=128, progress=False, train_size=16).train.images
    transform = Compose(
        [
            EnsureTyped(keys="image"),
            ScaleIntensityd(keys="image"),
            AnatPasted(keys="image", prob=0.5, label_key="label"),
        ]
    )
    transform.set_random_state(seed=0)
    samples = [transform({"image": image}) for image in images]
    print(f"{sum(sample['label'] for sample in samples)} of {len(samples)} images are augmented twins.")


if __name__ == "__main__":
    main()
