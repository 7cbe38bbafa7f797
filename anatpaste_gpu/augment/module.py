"""AnatPaste as a module: on its own, in Kornia's containers, and among torchvision's v2 transforms."""

from __future__ import annotations

from typing import Any

import torch
from kornia.augmentation import IntensityAugmentationBase2D
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from .. import checks
from ..ops.anat_paste import anat_paste
from ..segment.segmenters import Segmenter, apply_segmenter
from ..settings import AnatPasteConfig
from .functional import own_masks
from .randomness import random_arguments


class AnatPaste(IntensityAugmentationBase2D):
    """Pastes into the lungs of each image a patch of its own, through a blurred figure.

    Three ways to use it, all of which take (B,1,H,W), (B,3,H,W) or a single (C,H,W), uint8, uint16 or
    floating point
    in [0, 1], and return the same shape and dtype (Kornia's own containers want floating point):

    - on its own: ``AnatPaste()(images)``;
    - in ``kornia.augmentation.AugmentationSequential``; masks, boxes and keypoints pass through;
    - in ``torchvision.transforms.v2.Compose``: the image (tensor or ``tv_tensors.Image``) of a sample is
      changed and labels pass through.

    After a call, ``_params`` holds what decided it (seed, sample numbers, step and which images were chosen);
    handing that back as ``params=`` repeats the call exactly. For masks and drawn sizes use
    :func:`anatpaste_gpu.batch_augment`. Nothing waits for the device on the compiled backends.

    Args:
        config: What is drawn, and from where.
        segmenter: Images -> bool masks (B,1,H,W) of where to paste, in place of the built-in lung
            segmentation; it gets the batch as it is augmented.
        p: Probability that an image is augmented at all.
        seed: In [0, 2**63); the calls are then steps 0, 1, 2, ... of it. None draws a seed for each call from
            torch's generator.
        same_on_batch: Give every image of a batch the same draw. (The centre still falls in its own lungs.)
        keepdim: Give a single (C,H,W) image back as such.
        backend: "auto", "native" or "torch".

    Raises:
        TypeError: `config` is no AnatPasteConfig, `segmenter` not callable, or `seed` no int.
        ValueError: `seed` or `p` out of range.
    """

    def __init__(
        self,
        config: AnatPasteConfig | None = None,
        *,
        segmenter: Segmenter | None = None,
        p: float = 1.0,
        seed: int | None = None,
        same_on_batch: bool = False,
        keepdim: bool = True,
        backend: str = "auto",
    ) -> None:
        if config is not None and not isinstance(config, AnatPasteConfig):
            raise TypeError(f"config must be an AnatPasteConfig, got {type(config).__name__}.")
        if segmenter is not None and not callable(segmenter):
            raise TypeError(f"segmenter must be a callable, got {type(segmenter).__name__}.")
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"p must lie in [0, 1], got {p!r}.")
        if seed is not None:
            checks.check_scalar(seed, "seed", 2**63, "2**63", ())
        checks.check_backend(backend)
        super().__init__(p=p, same_on_batch=same_on_batch, keepdim=keepdim)
        self.config = AnatPasteConfig() if config is None else config
        # In a tuple, so that a network is not registered as a submodule, moved and trained with this one.
        self._segmenter = (segmenter,)
        self.seed = seed
        self.backend = backend
        self._calls = 0

    def forward(self, *inputs: Any, params: dict[str, Tensor] | None = None, **kwargs: Any) -> Any:
        """Augments one image or batch, or the image within a sample of several parts."""
        if len(inputs) != 1 or not isinstance(inputs[0], Tensor):
            return _WithinSample(self)(*inputs)
        (image,) = inputs
        if isinstance(image, tv_tensors.Image):
            plain = super().forward(image.as_subclass(Tensor), params=params, **kwargs)
            return tv_tensors.wrap(plain, like=image)
        return super().forward(image, params=params, **kwargs)

    def generate_parameters(self, batch_shape: tuple[int, ...]) -> dict[str, Tensor]:
        """What decides a call: sample numbers, seed and step. (Kornia's hook.)"""
        batch = batch_shape[0]
        index = torch.zeros(batch, dtype=torch.int64) if self.same_on_batch else torch.arange(batch)
        if self.seed is None:
            seed, step = torch.randint(0, 2**63 - 1, (), dtype=torch.int64), 0
        else:
            seed, step = torch.full((), self.seed, dtype=torch.int64), self._calls
            self._calls += 1
        return {"index": index, "seed": seed, "step": torch.full((), step, dtype=torch.int64)}

    def transform_tensor(
        self, input: Tensor, *, shape: Tensor | None = None, match_channel: bool = True
    ) -> Tensor:
        """(C,H,W) becomes (1,C,H,W). (Kornia's hook; its own takes floating point only.)"""
        if shape is not None:
            return super().transform_tensor(input, shape=shape, match_channel=match_channel)
        return input[None] if input.dim() == 3 else input

    def validate_tensor(self, input: Tensor) -> None:
        """Integers are images too. (Kornia's hook; its own takes floating point only.)"""
        checks.check_images(input)

    def apply_transform(
        self, input: Tensor, params: dict[str, Tensor], flags: dict[str, Any], transform: Tensor | None = None
    ) -> Tensor:
        """Augments every image; the base class puts back those that were not chosen. (Kornia's hook.)

        The base class has called `validate_tensor`, so that the images are not looked at again.
        """
        (segmenter,) = self._segmenter
        if segmenter is None:
            masks = own_masks(input, self.config, self.backend)
        else:
            masks = apply_segmenter(segmenter, input)
        index = params["index"].to(input.device)
        sample = random_arguments(input, params["seed"], index, params["step"])
        return anat_paste(input, masks, *sample, None, None, self.config, backend=self.backend)[0]


def _is_image(part: Any) -> bool:
    """Whether a part of a sample may be an image; masks and boxes are tensors of classes of their own."""
    return type(part) in (Tensor, tv_tensors.Image)


class _WithinSample(v2.Transform):
    """torchvision's way of finding the image within a sample: labels and the like pass through."""

    _transformed_types = (_is_image,)

    def __init__(self, augmentation: AnatPaste) -> None:
        super().__init__()
        self._augmentation = (augmentation,)  # in a tuple, so that it is not registered as a submodule

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Any:
        """Augments the image."""
        return self._augmentation[0](inpt)
