"""A validation set without abnormal images: held-out normal ones, and AnatPaste twins of them."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from anatpaste_gpu import draws
from anatpaste_gpu.augment import batch_augment
from anatpaste_gpu.data.masks import load_masks
from anatpaste_gpu.data.sets import ABNORMAL, NORMAL, DatasetSplits, ImageSet
from anatpaste_gpu.methods import Recipe
from anatpaste_gpu.runs import TrainConfig
from anatpaste_gpu.segment.segmenters import Segmenter, apply_segmenter

#: What a run that was validated by twins says of its figures.
PASTED_NOTE = (
    "Checkpoint and threshold were chosen by held-out normal images and pasted twins of them; no abnormal "
    "image was looked at before the test. The validation AUC says how well pastes are told, which is what "
    "methods that paste are trained for: methods are to be compared on a test set."
)
_SUFFIX = " (pasted)"
# Images that are augmented together; what they become does not depend on it.
_BLOCK = 64


def validated_by(
    config: TrainConfig, splits: DatasetSplits, segmenter: Segmenter | None, device: torch.device
) -> DatasetSplits:
    """The images with those that the recipe validates by: as they are, or normal ones and their twins.

    Args:
        config: its recipe and, for reading masks, its place.
        splits: the images that were loaded.
        segmenter: as `with_twins` takes it.
        device: as `with_twins` takes it.

    Raises:
        ValueError: masks come from files, and a held-out image has none.
    """
    recipe = config.recipe
    if recipe.is_labelled:
        return splits
    normals, masks = held_out_normals(splits.validation), None
    if recipe.pasting.masks is not None:
        try:
            masks = load_masks(
                recipe.pasting.masks, normals.names, recipe.image_size, workers=config.place.workers
            )
        except ValueError as error:
            raise ValueError(f"validation pasted needs masks of held-out images too: {error}") from error
    twins = with_twins(normals, recipe, masks=masks, segmenter=segmenter, device=device)
    return dataclasses.replace(splits, validation=twins)


def held_out_normals(validation: ImageSet) -> ImageSet:
    """The normal images of a validation set, in its order."""
    chosen = validation.labels == NORMAL
    names = [name for name, normal in zip(validation.names, chosen.tolist(), strict=True) if normal]
    return ImageSet(validation.images[chosen], validation.labels[chosen], names)


def with_twins(
    normals: ImageSet,
    recipe: Recipe,
    *,
    masks: Tensor | None = None,
    segmenter: Segmenter | None = None,
    device: torch.device | str = "cpu",
) -> ImageSet:
    """Normal images, and after them one pasted twin of each, which stands for an abnormal image.

    A twin follows from the image, its place among them, the recipe's `augmentation` and the seed that the
    split is drawn from: the same for every method, rank, batch size and device. No training step sees its
    draws, which have a domain of their own.

    Args:
        normals: normal images.
        recipe: `pasting.augmentation` and `drawn_from` are used.
        masks: bool CPU (N, 1, S, S) of where to paste, from files, or None.
        segmenter: of the user's, in place of the built-in segmentation, where there are no masks.
        device: where the user's segmenter finds its images.

    Returns:
        2 N images, with labels 0 and 1; a twin has its image's name and " (pasted)".
    """
    config = recipe.pasting.augmentation
    seed = int(draws.philox(recipe.drawn_from, draws.PASTED_VALIDATION).random_raw()) >> 1
    twins = []
    for index in torch.arange(len(normals), device="cpu").split(_BLOCK):
        images = normals.images[index]
        own = None if masks is None else masks[index]
        if own is None and segmenter is not None and config.use_segmentation:
            own = apply_segmenter(segmenter, images.to(device)).cpu()
        twins.append(batch_augment(images, seed=seed, index=index, masks=own, config=config))
    labels = torch.full_like(normals.labels, ABNORMAL)
    return ImageSet(
        torch.cat([normals.images, *twins]),
        torch.cat([normals.labels, labels]),
        [*normals.names, *(f"{name}{_SUFFIX}" for name in normals.names)],
    )


def check_validation(recipe: Recipe, splits: DatasetSplits) -> None:
    """Raises ValueError where the recipe's validation needs abnormal images and there are none."""
    if recipe.is_labelled and not splits.validation.count(ABNORMAL):
        raise ValueError(
            f"validation labelled needs abnormal validation images, and data set {recipe.dataset} has none "
            "here; validation pasted (--validation pasted) does without."
        )
