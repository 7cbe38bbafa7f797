"""AnatPaste in the place of anomalib's Perlin noise: DRAEM learns pastes in lungs.

Tried with anomalib 2.2.0, which wants pandas below 3.

    pip install anomalib 'pandas<3' requests
    python examples/anomalib_generator.py --folder /tmp/draem

writes phantoms in the layout of MVTec AD, which anomalib reads and so does `--dataset mvtec` here, and trains
DRAEM on it with anomalib's engine.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from anomalib.data import Folder
from anomalib.engine import Engine
from anomalib.models import Draem
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2 import Resize

import anatpaste_gpu
from anatpaste_gpu.data import load_dataset


class AnatPasteGenerator(nn.Module):
    """Images to augmented images and masks of what was pasted: what `PerlinAnomalyGenerator` does.

    Args:
        config: what is drawn, and from where.
        p: probability that an image is augmented; the mask of another is 0.
        least: a pixel of the mask has at least so much of its value from the paste.
    """

    def __init__(
        self, config: anatpaste_gpu.AnatPasteConfig | None = None, p: float = 0.5, least: float = 0.1
    ) -> None:
        super().__init__()
        self.config, self.p, self.least = config or anatpaste_gpu.AnatPasteConfig(), p, least

    @torch.no_grad()
    def forward(self, img: Tensor) -> tuple[Tensor, Tensor]:
        """Augments one image or a batch.

        Args:
            img: (C, H, W) or (B, C, H, W), floating point in [0, 1], C 1 or 3.

        Returns:
            The same, augmented, and float masks (1, H, W) or (B, 1, H, W) of 0 and 1.
        """
        batch = img if img.ndim == 4 else img[None]
        twins, aux = anatpaste_gpu.batch_augment(batch, config=self.config, return_aux=True)
        lungs = aux.masks | ~aux.masks.any(dim=(2, 3), keepdim=True)  # an empty one counts as one of ones
        pasted = lungs & (aux.figure_masks >= self.least)
        chosen = torch.rand(len(batch), 1, 1, 1, device=batch.device) < self.p
        twins, masks = torch.where(chosen, twins, batch), (pasted & chosen).to(img.dtype)
        return (twins, masks) if img.ndim == 4 else (twins[0], masks[0])


def draem(folder: Path) -> Draem:
    """DRAEM with pastes; `folder` is any that is there, as its own textures would be downloaded."""
    model = Draem(dtd_dir=folder, pre_processor=Draem.configure_pre_processor((64, 64)))
    model.augmenter = AnatPasteGenerator()
    return model


def write_phantoms(folder: Path, side: int) -> None:
    """train/good, test/good and test/finding, as MVTec AD has them."""
    splits = load_dataset("demo", image_size=side, progress=False, train_size=32, test_size=8)
    for part, split in (("train", splits.train), ("test", splits.test)):
        for number, (image, label) in enumerate(zip(split.images, split.labels.tolist(), strict=True)):
            place = folder / part / ("finding" if label else "good")
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy()).convert("RGB").save(place / f"{number:03}.png")


def main() -> None:
    """Phantoms, then a few steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where phantoms and results go")
    parser.add_argument("--steps", type=int, default=20, help="training steps (default 20)")
    options = parser.parse_args()
    images = options.folder / "phantoms"
    write_phantoms(images, 64)
    data = Folder(
        "phantoms",
        root=images,
        normal_dir="train/good",
        normal_test_dir="test/good",
        abnormal_dir="test/finding",
        augmentations=Resize((64, 64)),
        train_batch_size=8,
        num_workers=0,
    )
    engine = Engine(max_steps=options.steps, accelerator="cpu", default_root_dir=options.folder / "results")
    model = draem(options.folder)
    engine.fit(model, datamodule=data)
    engine.test(model, datamodule=data)


if __name__ == "__main__":
    main()
