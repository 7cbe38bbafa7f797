"""Smoke test of an installed wheel, run outside the checkout with only the wheel's own needs."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import anatpaste_gpu
from anatpaste_gpu.data import load_dataset
from anatpaste_gpu.report.render import render


def main() -> None:
    installed = Path(anatpaste_gpu.__file__).resolve()
    if "site-packages" not in installed.parts:
        sys.exit(f"expected the installed package, imported {installed}")
    images = load_dataset("demo", None, image_size=64, seed=0).test.images[:8]
    masks = anatpaste_gpu.segment_lungs(images)
    augmented, aux = anatpaste_gpu.batch_augment(images, seed=0, return_aux=True)
    assert augmented.shape == images.shape
    assert augmented.dtype == torch.uint8
    assert masks.any()
    assert torch.equal(masks, aux.masks)
    assert not torch.equal(augmented, images)
    assert "<!doctype html>" in render([]), "the report's template, style and scripts are in the wheel"
    print(f"anatpaste_gpu {anatpaste_gpu.__version__} from {installed.parent}: ok")


if __name__ == "__main__":
    main()
