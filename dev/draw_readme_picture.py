"""Draws docs/augmentation.png: AnatPaste on three radiograph phantoms, with the paper's settings."""

from __future__ import annotations

import torch

import anatpaste_gpu
from anatpaste_gpu.data.phantoms import render_phantom
from anatpaste_gpu.report.gallery import save_gallery

from . import REPOSITORY

OUTPUT = REPOSITORY / "docs" / "augmentation.png"
PATIENTS = 3
SEED = 3


def main() -> None:
    pictures = [render_phantom(number, image_size=256, seed=SEED).image for number in range(PATIENTS)]
    images = torch.stack([torch.from_numpy(picture) for picture in pictures])[:, None]
    results, aux = anatpaste_gpu.batch_augment(images, seed=SEED, return_aux=True)
    OUTPUT.parent.mkdir(exist_ok=True)
    save_gallery(OUTPUT, images, aux.masks, aux.figure_masks, results)


if __name__ == "__main__":
    main()
