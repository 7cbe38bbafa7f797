"""Another organ, another segmenter: knees, and a callable that finds their bones.

    python examples/knee_bones.py --folder /tmp/knees

makes a folder of knee phantoms (bright bones; abnormal ones have a dark lesion in a bone), trains a detector
that pastes into bones instead of lungs, and prints its AUC. With --masks the masks are written to PNG files
first and read back from there, as `anatpaste train --masks DIR` does. Phantoms: not for clinical use.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional

from anatpaste_gpu.data import find_images, read_image
from anatpaste_gpu.training import TrainConfig, train


def segment_bones(images: Tensor) -> Tensor:
    """Bones are the brightest parts of a knee: a threshold on the blurred image, all on the device.

    Args:
        images: uint8 (B, 1, H, W).

    Returns:
        bool (B, 1, H, W).
    """
    smooth = functional.gaussian_blur(images.float(), [5, 5])
    low, high = smooth.amin((2, 3), keepdim=True), smooth.amax((2, 3), keepdim=True)
    return smooth > low + 0.6 * (high - low)


def knee(rng: np.random.Generator, side: int, *, lesion: bool) -> NDArray[np.uint8]:
    """A frontal knee: soft tissue, femur and tibia with their flared ends, and the joint space between."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    x = x - rng.uniform(-0.1, 0.1)
    joint, shaft = rng.uniform(-0.1, 0.1), rng.uniform(0.2, 0.26)
    half = shaft + rng.uniform(0.18, 0.24) * np.exp(-(((y - joint) / 0.35) ** 2))
    bone = (np.abs(x) < half) & (np.abs(y - joint) > 0.04)
    light = 25 + 70 * np.exp(-((x / 0.75) ** 4)) + bone * rng.uniform(85, 105)
    if lesion:
        centre_y, centre_x = joint + rng.choice([-1, 1]) * rng.uniform(0.15, 0.5), rng.uniform(-0.1, 0.1)
        distance = ((y - centre_y) ** 2 + (x - centre_x) ** 2) / rng.uniform(0.08, 0.14) ** 2
        light = light - bone * rng.uniform(45, 80) * np.exp(-distance)
    return np.clip(light + rng.normal(0, 4, light.shape), 0, 255).astype(np.uint8)


def write_knees(folder: Path, side: int, normal: int, abnormal: int) -> None:
    """The layout of the data set "folder": normal/ and one folder a finding."""
    rng = np.random.default_rng(0)
    for name, count in (("normal", normal), ("lesion", abnormal)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            picture = Image.fromarray(knee(rng, side, lesion=name == "lesion"))
            picture.save(folder / name / f"{number:04}.png")


def write_masks(images: Path, masks: Path, side: int) -> None:
    """A PNG mask of each image, under the image's relative name."""
    for path in find_images(images):
        mask = segment_bones(read_image(path, side)[None])[0, 0]
        target = masks / path.relative_to(images).with_suffix(".png")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask.numpy()).save(target)


def main() -> None:
    """Images, then a run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where images, masks and the run go")
    parser.add_argument("--steps", type=int, default=150, help="training steps (default 150)")
    parser.add_argument("--normal", type=int, default=160, help="normal knees (default 160)")
    parser.add_argument("--masks", action="store_true", help="use masks from files, not the callable")
    options = parser.parse_args()
    side, images, masks = 64, options.folder / "images", options.folder / "masks"
    write_knees(images, side, options.normal, options.normal // 2)
    if options.masks:
        write_masks(images, masks, side)
    config = TrainConfig.of(
        dataset="folder",
        data_root=str(images),
        output=str(options.folder / ("run-masks" if options.masks else "run")),
        masks=str(masks) if options.masks else None,
        gpu=0 if torch.cuda.is_available() else -1,
        image_size=side,
        batch_size=16,
        epochs=1,
        steps_per_epoch=options.steps,
        bootstrap_samples=200,
    )
    train(config, segmenter=None if options.masks else segment_bones)


if __name__ == "__main__":
    main()
