"""Patch features: what a frozen backbone makes of each cell of a grid over the image."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from anatpaste_gpu.methods.backbones import Normalisation, build_backbone
from anatpaste_gpu.methods.memory.settings import MemorySettings
from anatpaste_gpu.methods.pretext.heat_map import as_map
from anatpaste_gpu.methods.pretext.network import to_input
from anatpaste_gpu.methods.weights import load_backbone, read_weights

# Shares of the image's side at which PatchCore takes its maps.
_STRIDES = (8, 16)
# "layer2", "blocks.4" and "features.6" are stages; names with more parts are layers inside of one.
_STAGE_PARTS = 2


class PatchFeatures(nn.Module):
    """Maps of some of a backbone's layers, locally averaged.

    Args:
        backbone: its name, as `build_backbone` takes it.
        image_size: side of the images.
        settings: `layers`, `scales` and `pooling` are used.
        normalisation: of the images' values.

    Attributes:
        layers: names of the modules whose maps are taken, in the order in which they are computed.
        image_size: as given.

    Raises:
        ValueError: there is no such backbone or no such layer, or a layer has no square map.
    """

    def __init__(
        self, backbone: str, image_size: int, settings: MemorySettings, normalisation: Normalisation
    ) -> None:
        super().__init__()
        built = build_backbone(backbone, image_size)
        self.backbone = built.module
        self._name, self._left_out = backbone, tuple(f"{name}." for name in built.classifiers)
        self._pooling, self._scales = settings.pooling, settings.scales
        self.image_size, self.normalisation = image_size, normalisation
        self.eval()
        sides = self._map_sides(image_size)
        self.layers = _named(settings.layer_names, sides) or _by_stride(sides, image_size)
        if not self.layers:
            raise ValueError(
                f"method memory found no layers of {backbone} with an eighth or a sixteenth of {image_size} "
                "pixels; name some with --memory.layers."
            )
        self.requires_grad_(False)

    def load_weights(self, source: str) -> None:
        """Puts in the backbone's weights, with their normalisation; see `read_weights` for the source.

        Raises:
            ValueError: the file is missing, is not readable, or does not fit the network.
        """
        weights = read_weights(source, self._name)
        load_backbone(self.backbone, weights, self._left_out)
        self.normalisation = weights.normalisation or self.normalisation

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features of grey images.

        Args:
            images: uint8 (B, 1, S, S), or floating point in [0, 1].

        Returns:
            float32 (B, C, h, w), one a scale: all layers at one grid, or each at its own.
        """
        return self._on_grids(images, stop=True)

    def all_layers(self, images: Tensor) -> list[Tensor]:
        """The same through all of the backbone, for `torch.export`, which drops what leads to no output."""
        return self._on_grids(images, stop=False)

    def _on_grids(self, images: Tensor, *, stop: bool) -> list[Tensor]:
        inputs = to_input(images, normalisation=self.normalisation)
        maps = [self._averaged(one) for one in self._maps(inputs, stop=stop)]
        if self._scales == "apart":
            return maps
        sides = [one.shape[-1] for one in maps]
        side = min(sides) if self._scales == "coarsest" else max(sides)
        return [torch.cat([at_side(one, side) for one in maps], 1)]

    def _averaged(self, one: Tensor) -> Tensor:
        # Padding does not count, or the border would look unlike the rest.
        return functional.avg_pool2d(one, self._pooling, 1, self._pooling // 2, count_include_pad=False)

    def _maps(self, inputs: Tensor, *, stop: bool) -> list[Tensor]:
        found: dict[str, Tensor] = {}
        with _recorded(self.backbone, self.layers, found, stop=stop), contextlib.suppress(_Enough):
            self.backbone(inputs)
        return [as_map(found[name]).float() for name in self.layers]

    def _map_sides(self, image_size: int) -> dict[str, int]:
        """Sides of the square maps that modules put out, in the order in which they are computed."""
        found: dict[str, Tensor] = {}
        names = [name for name, _ in self.backbone.named_modules() if name]
        with torch.no_grad(), _recorded(self.backbone, names, found):
            self.backbone(torch.zeros(1, 3, image_size, image_size))
        maps = {name: as_map(output) for name, output in found.items() if _may_be_map(output)}
        return {name: one.shape[-1] for name, one in maps.items() if one.shape[-2] == one.shape[-1] > 1}


class _Enough(Exception):
    """All maps are there: what the backbone would still compute is not looked at."""


@contextlib.contextmanager
def _recorded(
    network: nn.Module, names: tuple[str, ...] | list[str], found: dict[str, Tensor], *, stop: bool = False
) -> Iterator[None]:
    """Lets modules leave their outputs in `found` while the context is open, and stops after the last one."""

    def remember(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                found.pop(name, None)
                found[name] = output.clone()  # the next layer may write into it
            if stop and len(found) == len(names):
                raise _Enough

        return hook

    handles = [network.get_submodule(name).register_forward_hook(remember(name)) for name in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _may_be_map(output: Tensor) -> bool:
    return output.dim() == 4 or (output.dim() == 3 and output.shape[1] > 1)


def _named(names: tuple[str, ...], sides: dict[str, int]) -> tuple[str, ...]:
    for name in names:
        if name not in sides:
            stages = ", ".join(one for one in sides if one.count(".") < _STAGE_PARTS)
            raise ValueError(f"layers must be modules with a square map, such as {stages}; got {name!r}.")
    return tuple(name for name in sides if name in names)


def _by_stride(sides: dict[str, int], image_size: int) -> tuple[str, ...]:
    """The last stage with an eighth and the last one with a sixteenth of the image's side."""
    stages = {name: side for name, side in sides.items() if name.count(".") < _STAGE_PARTS}
    last = {side: name for name, side in stages.items()}
    wanted = [-(-image_size // stride) for stride in _STRIDES]
    return tuple(name for name in sides if name in {last.get(side) for side in wanted})


def at_side(one: Tensor, side: int) -> Tensor:
    """Maps (B, C, h, h) as (B, C, side, side): means of cells, or enlarged bilinearly."""
    if one.shape[-1] == side:
        return one
    if one.shape[-1] > side:
        return functional.adaptive_avg_pool2d(one, side)
    return functional.interpolate(one, size=(side, side), mode="bilinear", align_corners=False)


def added(maps: list[Tensor], side: int) -> Tensor:
    """The sum of maps (B, C, h, h), each at its own grid, at one of side x side."""
    return sum((at_side(one, side) for one in maps[1:]), at_side(maps[0], side))
