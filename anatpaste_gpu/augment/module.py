"""AnatPaste as a module: on its own, in Kornia's containers, and among torchvision's v2 transforms."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from kornia.augmentation import IntensityAugmentationBase2D
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from .. import arrays, checks
from ..ops.anat_paste import anat_paste
from ..segment.segmenters import Segmenter, apply_segmenter
from ..setting_checks import is_number, is_whole, plain
from ..settings import AnatPasteConfig
from .functional import own_masks
from .randomness import random_arguments
from .samples import as_image, image_places, is_array
from .stream import is_chosen, own_seed, process_rank

_CPU = torch.device("cpu")


class AnatPaste(IntensityAugmentationBase2D):
    """Pastes into the lungs of each image a patch of its own, through a blurred figure.

    Three ways to use it:

    - on its own: ``AnatPaste()(images)``;
    - in ``kornia.augmentation.AugmentationSequential``; masks, boxes and keypoints pass through;
    - in ``torchvision.transforms.v2.Compose``: the image of a sample is changed, and labels, masks and boxes
      pass through. PIL images and ``tv_tensors.Image`` are images; where a sample has neither, its first
      tensor or array of three dimensions or more is (else of two), and the others pass through.

    An image is a tensor (B,1,H,W), (B,3,H,W) or a single (C,H,W), uint8, uint16 or floating point in [0, 1]
    (Kornia's own containers want floating point); a ``tv_tensors.Image`` of that kind; a NumPy or DLPack
    array, which may be (H,W) and have its channels last too; or a PIL image of mode L, RGB, I;16, or F in
    [0, 1]. What comes back is of its kind, shape and dtype, and channels last in memory where it was. A call
    in which there is no image is refused, so that nothing is handed back untouched.

    What keys the draws, by (seed, sample number, step) as with :func:`anatpaste_gpu.batch_augment`:

    - With ``index=``, the seed alone: the same result for any batch size, order, number of workers and number
      of ranks. ``AnatPaste(seed=0)(image, index=number_of_the_image, step=epoch)`` in a data set is what
      repeats everywhere; without ``step=`` it is 0, so that every epoch has the same draws.
    - Without, the sample number is the place in the batch, and the step is the number of the call, counted
      from 0 by each copy of the module. In a process on its own, or on rank 0 of torch.distributed, the seed
      is `seed`. On another rank it is a word drawn from `seed` and the rank; in a DataLoader's worker, from
      `seed`, the rank and the seed that the loader gave the worker. So draws differ by rank and worker, and
      by epoch: a worker that is started anew has another seed, and a persistent one goes on counting. The
      loader draws those seeds from its `generator`, or torch's default one: ``torch.manual_seed`` before a
      run repeats them.
    - Whether an image is augmented at all (`p`) is drawn from the same three.

    ``state_dict()`` holds the number of calls, so a pipeline that loads it goes on with the draws that it
    would have had. (``v2.Compose`` does not register its transforms: keep the module's own. Copies in workers
    keep their own count; there it is the generator's state that a resumed run restores.)

    After a call, ``_params`` holds what decided it (seed, sample numbers, step and which images were chosen);
    handing that back as ``params=`` repeats the call exactly. For masks and drawn sizes use
    :func:`anatpaste_gpu.batch_augment`. Nothing waits for the device on the compiled backends, except with
    0 < p < 1 for an ``index=`` that lies there.

    Args:
        config: What is drawn, and from where.
        segmenter: Images -> bool masks (B,1,H,W) of where to paste, in place of the built-in lung
            segmentation; it gets the batch as it is augmented.
        p: Probability that an image is augmented at all.
        seed: In [0, 2**63); the calls are then steps 0, 1, 2, ... of it. None draws a seed for each call from
            torch's default CPU generator.
        same_on_batch: Give every image of a batch the same draw, the first one's. (The centre still falls in
            its own lungs.)
        keepdim: Give a single (C,H,W) image back as such.
        backend: "auto", "native" or "torch".

    Raises:
        TypeError: `config` is no AnatPasteConfig, `segmenter` not callable, `seed` no int, or `p` no number.
        ValueError: `seed` or `p` out of range.

    Example:
        >>> image = torch.rand(1, 64, 64)
        >>> first = AnatPaste(seed=0)(image, index=7, step=2)
        >>> batch = AnatPaste(seed=0)(image[None].repeat(2, 1, 1, 1), index=torch.tensor([3, 7]), step=2)
        >>> torch.equal(batch[1], first)
        True
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
        if not is_number(p):
            raise TypeError(f"p must be a number, got {type(p).__name__}.")
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"p must lie in [0, 1], got {p!r}.")
        if seed is not None:
            checks.check_scalar(seed, "seed", 2**63, "2**63", (_CPU,))
        checks.check_backend(backend)
        super().__init__(p=float(p), same_on_batch=same_on_batch, keepdim=keepdim)
        self.config = AnatPasteConfig() if config is None else config
        # In a tuple, so that a network is not registered as a submodule, moved and trained with this one.
        self._segmenter = (segmenter,)
        self.seed = None if seed is None else int(seed)
        self.backend = backend
        self._calls = 0
        self._sender_rank = 0

    def forward(
        self,
        *inputs: Any,
        params: dict[str, Tensor] | None = None,
        index: Any = None,
        step: int | Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Augments one image or batch, or the image within a sample of several parts.

        Args:
            inputs: The image, or the parts of a sample: nested lists, tuples and dicts of them too.
            params: ``_params`` of an earlier call, to replay it; `index` and `step` then have no effect.
            index: The number of the image, counted from 0, or int64 (B,) numbers of a batch. See the class.
            step: In [0, 2**32). Default: the number of the call, or 0 with `index`.
            kwargs: What Kornia's containers hand over.

        Returns:
            The same, with the image augmented.

        Raises:
            TypeError: There is no image, or it is of a wrong type, dtype or mode.
            ValueError: Wrong shape, size or range, or an image that requires grad.
        """
        given = {"params": params, "index": index, "step": step, **kwargs}
        sample = inputs if len(inputs) != 1 else inputs[0]
        if isinstance(sample, Tensor) and is_array(sample):
            return self._augment(sample, **given)
        parts, structure = tree_flatten(sample)
        for place in image_places(parts):
            parts[place] = self._augment(parts[place], **given)
        return tree_unflatten(parts, structure)

    def _augment(self, part: Any, *, params: Any, index: Any, step: Any, **kwargs: Any) -> Any:
        image, restore = as_image(part)
        if params is None and (index is not None or step is not None):
            batch = self.transform_tensor(image)
            self.validate_tensor(batch)
            params = self._draw(tuple(batch.shape), _sample_numbers(index, len(batch)), _checked(step, batch))
        return restore(arrays.like_images(super().forward(image, params=params, **kwargs), image))

    def forward_parameters(self, batch_shape: tuple[int, ...]) -> dict[str, Tensor]:
        """What decides a call: sample numbers, seed, step and which images are chosen. (Kornia's hook.)"""
        return self._draw(batch_shape, None, None)

    def _draw(
        self, batch_shape: tuple[int, ...], index: Tensor | None, step: int | Tensor | None
    ) -> dict[str, Tensor]:
        """See the class for what keys what. A call is counted if neither `index` nor `step` was given."""
        if self.seed is None:
            seed = int(torch.randint(0, 2**63 - 1, (), dtype=torch.int64, device=_CPU))
        else:
            seed = self.seed
        if step is None:
            counted = index is None and self.seed is not None
            step = self._calls if counted else 0
            self._calls += counted
        if index is None:
            seed = own_seed(seed, self._sender_rank)
            index = torch.arange(batch_shape[0], device=_CPU)
        if self.same_on_batch:
            index = index[:1].expand(batch_shape[0])
        return {
            "index": index,
            "seed": torch.full((), seed, dtype=torch.int64, device=_CPU),
            "step": step
            if isinstance(step, Tensor)
            else torch.full((), step, dtype=torch.int64, device=_CPU),
            "batch_prob": self._chosen(seed, index, step),
            "forward_input_shape": torch.tensor(batch_shape, dtype=torch.int64, device=_CPU),
        }

    def _chosen(self, seed: int, index: Tensor, step: int | Tensor) -> Tensor:
        """1 for an image that is augmented, 0 for one that is not; float (B,) on the CPU."""
        if self.p in (0.0, 1.0):
            return torch.full((len(index),), self.p, device=_CPU)
        return torch.tensor(
            is_chosen(seed, index.tolist(), int(step), self.p), dtype=torch.float32, device=_CPU
        )

    def get_extra_state(self) -> Tensor:
        """The number of calls, for ``state_dict``."""
        return torch.tensor(self._calls, dtype=torch.int64, device=_CPU)

    def set_extra_state(self, state: Any) -> None:
        """Goes on after so many calls."""
        self._calls = int(state)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        # State dicts of earlier releases do not have it.
        state_dict.setdefault(f"{prefix}_extra_state", self.get_extra_state())
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def __getstate__(self) -> dict[str, Any]:
        # A worker that is spawned from this copy is in no group of torch.distributed to ask.
        return {**self.__dict__, "_sender_rank": process_rank()}

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


def _sample_numbers(index: Any, images: int) -> Tensor | None:
    """The numbers of a batch's images, int64 (B,), wherever they are."""
    if index is None:
        return None
    if is_whole(index):
        index = np.array([index], np.int64)
    numbers, _ = arrays.as_tensor(index, "index")
    checks.check_index(numbers, numbers.new_empty(images))
    return numbers


def _checked(step: Any, batch: Tensor) -> int | Tensor | None:
    """A step, with NumPy's integers as Python's."""
    if step is None:
        return None
    checks.check_scalar(step, "step", 2**32, "2**32", (_CPU, batch.device))
    return cast("int | Tensor", plain(step))
