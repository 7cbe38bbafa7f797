"""AnatPaste with and without its segmentation, and image jitter."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch

from anatpaste_gpu import batch_augment, image_jitter, segment_lungs

from .. import pictures
from ..peers.scikit_image import SKIMAGE, ScikitImage
from ..task import ALL_THREADS, Array, Entrant, Inputs, Task, one_by_one, ours, synchronised, workloads_of
from ..timing import Call
from . import stages

OTHER_DRAWS = "other random draws"
PIL_BLUR = f"{OTHER_DRAWS}; PIL's blur is a box approximation"
OPENCV_BLUR = f"{OTHER_DRAWS}; the blur's kernel is cut off"
ROUNDS_TWICE = "rounds after brightness and after contrast"
IN_BYTES = "stays in bytes; ours rounds once, and sums the mean exactly for every device alike"
LOW, HIGH = 0.9, 1.1


def changed(ours: Array, theirs: Array) -> str:
    """How much each result varies, as no pixel of theirs need be like ours."""
    return f"mean grey {theirs.mean() / ours.mean():.3f} of ours"


def our_paste(inputs: Inputs) -> Call:
    masks = segment_lungs(inputs.batch)
    index = torch.arange(len(inputs.batch), device=inputs.batch.device)
    return synchronised(
        lambda: batch_augment(inputs.batch, seed=1, index=index, masks=masks), inputs.batch.device.type
    )


def loop_of(load: Callable[[int], Callable[[Any], Any]]) -> Callable[[Inputs], Call]:
    """A loop over images with a function made for their size."""
    return lambda inputs: one_by_one(load(inputs.size))(inputs)


def paste_loop_of(load: Callable[[], Callable[[Any, Any], Any]]) -> Callable[[Inputs], Call]:
    """A loop over pairs of image and our lung mask."""

    def prepare(inputs: Inputs) -> Call:
        function, images = load(), inputs.planes()
        lungs = [mask.numpy() for mask in segment_lungs(inputs.batch)[:, 0]]
        numbers = one_by_one(lambda n: function(images[int(n[0])], lungs[int(n[0])]))
        return numbers(Inputs(torch.arange(len(images)).view(-1, 1, 1), inputs.threads, inputs.size))

    return prepare


def pil_paste() -> Callable[[Any, Any], Any]:
    from ..peers import pil_loop

    return pil_loop.paste


def opencv_paste() -> Callable[[Any, Any], Any]:
    from ..peers import opencv

    return opencv.paste


def published(size: int) -> Callable[[Any], Any]:
    """PIL and scikit-image."""
    segment, paste = ScikitImage(SKIMAGE).segment(stages.min_area(size)), pil_paste()
    return lambda image: paste(image, segment(image))


def opencv_augment(size: int) -> Callable[[Any], Any]:
    from ..peers import opencv

    segment = opencv.segment(stages.min_area(size))
    return lambda image: opencv.paste(image, segment(image) > 0)


def pil_jitter(size: int) -> Callable[[Any], Any]:
    from PIL import Image

    from ..peers import pil_loop

    return lambda image: pil_loop.jitter(
        Image.fromarray(image), random.uniform(LOW, HIGH), random.uniform(LOW, HIGH)
    )


def opencv_jitter(size: int) -> Callable[[Any], Any]:
    from ..peers import opencv

    return lambda image: opencv.jitter(image, random.uniform(LOW, HIGH), random.uniform(LOW, HIGH))


def albumentations_jitter(size: int) -> Callable[[Any], Any]:
    import albumentations

    limits = (LOW - 1, HIGH - 1)
    transform = albumentations.RandomBrightnessContrast(limits, limits, p=1.0)
    return lambda image: transform(image=image)["image"]


def torchvision_jitter(inputs: Inputs) -> Call:
    from torchvision.transforms import v2

    transform = v2.ColorJitter(brightness=(LOW, HIGH), contrast=(LOW, HIGH))
    return synchronised(lambda: [transform(image) for image in inputs.batch], inputs.batch.device.type)


def kornia_jitter(inputs: Inputs) -> Call:
    import kornia

    transform = kornia.augmentation.ColorJiggle(brightness=(LOW, HIGH), contrast=(LOW, HIGH), p=1.0)
    colour = (inputs.batch.float() / 255).expand(-1, 3, -1, -1)
    return synchronised(lambda: transform(colour)[:, :1] * 255, inputs.batch.device.type)


BATCH_AUGMENT = Task(
    "batch_augment",
    (
        ours(lambda images: batch_augment(images, seed=1)),
        Entrant("PIL + scikit-image", loop_of(published), ("skimage",), PIL_BLUR, most=8),
        Entrant("OpenCV", loop_of(opencv_augment), ("cv2",), f"another CLAHE; {OPENCV_BLUR}", most=64),
    ),
    pictures.images,
    changed,
)
PASTE = Task(
    "paste",
    (
        ours(image_jitter, our_paste),
        Entrant("PIL", paste_loop_of(pil_paste), (), PIL_BLUR),
        Entrant("OpenCV", paste_loop_of(opencv_paste), ("cv2",), OPENCV_BLUR),
    ),
    pictures.images,
    changed,
)
JITTER = Task(
    "image jitter",
    (
        ours(lambda images: image_jitter(images, seed=1)),
        Entrant("PIL", loop_of(pil_jitter), (), OTHER_DRAWS),
        Entrant(
            "OpenCV", loop_of(opencv_jitter), ("cv2",), f"{OTHER_DRAWS}; {ROUNDS_TWICE}", advantage=IN_BYTES
        ),
        Entrant(
            "albumentations",
            loop_of(albumentations_jitter),
            ("albumentations",),
            f"{OTHER_DRAWS}; adds the brightness, contrast around black",
            advantage="a table of 256 levels, and no mean of the image",
        ),
        Entrant("torchvision", torchvision_jitter, ("torchvision",), OTHER_DRAWS, devices=("cpu", "cuda")),
        Entrant(
            "Kornia",
            kornia_jitter,
            ("kornia",),
            f"{OTHER_DRAWS}; three float channels",
            devices=("cpu", "cuda"),
        ),
    ),
    pictures.images,
    changed,
)

WORKLOADS = [
    *workloads_of(BATCH_AUGMENT, [(32, 128), (8, 256), (4, 512), (2, 1024), (1, 2048)]),
    *workloads_of(BATCH_AUGMENT, [(1, 256), (64, 256), (256, 256)]),
    *workloads_of(BATCH_AUGMENT, [(64, 256)], threads=ALL_THREADS),
    *workloads_of(BATCH_AUGMENT, [(64, 256)], device="cuda"),
    *workloads_of(PASTE, [(64, 256), (4, 1024)]),
    *workloads_of(PASTE, [(64, 256)], threads=ALL_THREADS, full=True),
    *workloads_of(PASTE, [(64, 256)], device="cuda"),
    *workloads_of(JITTER, [(64, 256)]),
    *workloads_of(JITTER, [(64, 256)], device="cuda"),
]
