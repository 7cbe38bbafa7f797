"""A training step of the default network, with and without its augmentation. `batch` is pairs of twins."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from anatpaste_gpu import batch_augment, image_jitter
from anatpaste_gpu.devices import compute_dtype
from anatpaste_gpu.methods import Recipe
from anatpaste_gpu.methods.pretext import AnatPasteNet

from .. import pictures
from ..task import ALL_THREADS, Array, Entrant, Inputs, Task, as_array, ours, synchronised, workloads_of
from ..timing import Call
from .augmentation import loop_of, pil_jitter, published

Twins = Callable[[], Tensor]


def step_on(make_twins: Callable[[Inputs], Twins]) -> Callable[[Inputs], Call]:
    """Forward, backward and update on twins that are made anew for every step; returns the twins."""

    def prepare(inputs: Inputs) -> Call:
        schedule, device = Recipe().schedule, inputs.batch.device
        network = AnatPasteNet().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.SGD(
            network.parameters(), schedule.learning_rate, schedule.momentum, fused=True
        )
        labels = torch.arange(2, device=device).repeat_interleave(len(inputs.batch))
        dtype, twins = compute_dtype("auto", device), make_twins(inputs)

        def run() -> Tensor:
            batch = twins()
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                logits = network(batch).float()
            functional.cross_entropy(logits, labels).backward()
            optimizer.step()
            return batch

        return synchronised(run, device.type)

    return prepare


def our_twins(inputs: Inputs) -> Twins:
    """Image jitter and AnatPaste, as the trainer makes them."""

    def make() -> Tensor:
        images = image_jitter(inputs.batch, seed=1)
        return torch.cat([images, batch_augment(images, seed=1)])

    return make


def ready_twins(inputs: Inputs) -> Twins:
    """Made once, outside of the step."""
    twins = our_twins(inputs)()
    return lambda: twins


def published_twins(inputs: Inputs) -> Twins:
    """PIL and scikit-image, in the step's own process."""
    jitter = loop_of(pil_jitter)(inputs)
    augment = published(inputs.size)

    def make() -> Tensor:
        images = [as_array([image])[0] for image in jitter()]
        twins = [augment(image) for image in images]
        return pictures.as_batch([*images, *twins], 2 * len(images))

    return make


def brightness(ours: Array, theirs: Array) -> str:
    return f"mean grey of the batch {theirs.mean() / ours.mean():.3f} of ours"


STEP = Task(
    "training step",
    (
        ours(torch.clone, step_on(our_twins)),
        Entrant(
            "bare step",
            step_on(ready_twins),
            (),
            "no augmentation",
            devices=("cpu", "cuda"),
            advantage="augments nothing: what the network costs by itself",
        ),
        Entrant("PIL + scikit-image", step_on(published_twins), ("skimage",), "other random draws"),
    ),
    pictures.images,
    brightness,
    unit="pair",
    images=2,
)
# The augmentation is less than 0.5 % of a step: only many rounds of the processor's clock tell.
PATIENCE = 30

WORKLOADS = [
    *workloads_of(STEP, [(16, 256)], patience=PATIENCE),
    *workloads_of(STEP, [(16, 256)], threads=ALL_THREADS, patience=PATIENCE),
    *workloads_of(STEP, [(32, 256)], patience=PATIENCE, full=True),
    *workloads_of(STEP, [(64, 256)], device="cuda"),
]
