"""The memory: normal patches by grid cell, and distances to the nearest of them."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional

from anatpaste_gpu.methods.memory.coreset import k_centre_greedy, project
from anatpaste_gpu.methods.memory.scaling import scaling_of
from anatpaste_gpu.methods.memory.settings import MemorySettings
from anatpaste_gpu.scorers.validation import full_precision

_MEBIBYTE = 1 << 20
_BYTES = 4
# Normal images whose distances say what is usual; their mean then has a tenth of one image's spread or less.
_USUAL = 128


@dataclasses.dataclass
class PatchMemory:
    """Normal patches of one scale.

    Attributes:
        mean: float32 (C,), taken off features.
        matrix: float32 (C, C), by which features are then multiplied from the right.
        patches: float32 (M, D), the features remembered, after that; D is C, and 2 more where positions have
            a weight. With a reach there are as many of every cell, cell after cell, row by row.
        side: cells of the grid's side.
        position: weight of the position, as `MemorySettings.position`.
        reach: as `MemorySettings.reach`.
        unit: whether features have length 1.
        usual: float32 (h, h), the mean distance of normal images in each cell, an image's own patches not
            being compared; 0 where they are all there are.
    """

    mean: Tensor
    matrix: Tensor
    patches: Tensor
    side: int
    position: float
    reach: int | None
    unit: bool
    usual: Tensor

    @classmethod
    def of(
        cls, features: Tensor, settings: MemorySettings, seed: int, budget: int, max_elements: int = 1 << 24
    ) -> PatchMemory:
        """Remembers a coreset of normal patches.

        Where only patches within reach are compared, every cell has as many, chosen among its own; else they
        are chosen among all.

        Args:
            features: float32 (N, C, h, h), of normal images.
            settings: how.
            seed: of the projection and the first choices.
            budget: bytes that the patches may take.
            max_elements: as `distances` takes it.

        Raises:
            ValueError: the budget does not hold a patch (or one a cell).
        """
        mean, matrix = scaling_of(features, settings.scaling, settings.shrinkage)
        count, side = len(features), features.shape[-1]
        usual = torch.zeros(side, side, device=features.device)
        memory = cls(mean, matrix, features, side, settings.position, settings.reach, settings.unit, usual)
        points = memory.points(features)  # (N, cells, D)
        cells = points.shape[1]
        room = budget // (points.shape[2] * _BYTES)
        apart = settings.reach is not None
        groups = points.transpose(0, 1).contiguous() if apart else points.reshape(1, count * cells, -1)
        most = min(groups.shape[1], room // len(groups))
        if most < 1:
            needed = -(-len(groups) * points.shape[2] * _BYTES // _MEBIBYTE)
            raise ValueError(
                f"memory.budget must hold a patch of every cell, {needed} MiB or more a scale, got "
                f"{budget / _MEBIBYTE:g} MiB."
            )
        first = torch.randint(groups.shape[1], (len(groups),), generator=torch.Generator().manual_seed(seed))
        chosen = k_centre_greedy(project(groups, settings.projection, seed), most, first.to(features.device))
        chosen = chosen.sort(1).values
        kept = groups.gather(1, chosen[:, :, None].expand(-1, -1, groups.shape[2])).flatten(0, 1)
        memory.patches = kept.contiguous()
        owners = (chosen if apart else chosen // cells).flatten()
        memory.usual = memory._usual_distances(features, owners, max_elements)
        return memory

    def points(self, features: Tensor) -> Tensor:
        """float32 (B, cells, D) out of maps (B, C, h, h): scaled, with the weighted position."""
        with full_precision(features.device):
            points = features.flatten(2).transpose(1, 2).sub(self.mean) @ self.matrix
        if self.unit:
            points = functional.normalize(points, dim=2)
        if self.position == 0:
            return points
        steps = torch.arange(self.side, device=features.device) * (self.position / self.side)
        places = torch.cartesian_prod(steps, steps).expand(points.shape[0], -1, -1)
        return torch.cat([points, places], 2)

    def distances(self, features: Tensor, max_elements: int) -> Tensor:
        """Euclidean distances to the nearest patches that are within reach.

        The nearest is found by a product of matrices in float32, its distance then formed from differences,
        which do not depend on what else is in the batch.

        Args:
            features: float32 (B, C, h, h).
            max_elements: of the largest matrix of distances held.

        Returns:
            float32 (B, h, h).
        """
        points = self.points(features)
        return self.distances_to(points, self._nearest(points, max_elements))

    def _usual_distances(self, features: Tensor, owners: Tensor, max_elements: int) -> Tensor:
        """float32 (h, h), mean distances of some normal images to the patches of the others.

        Args:
            features: float32 (N, C, h, h), of the normal images.
            owners: int64 (M,), the image that each remembered patch is of.
            max_elements: as `distances` takes it.
        """
        if not (owners != owners[0]).any():
            return self.usual
        some = torch.linspace(0, len(features) - 1, min(len(features), _USUAL), device=owners.device)
        images = some.round().long()
        points = self.points(features[images])
        nearest = self._nearest(points, max_elements, (owners, images))
        return self.distances_to(points, nearest).double().mean(0).float()

    def distances_to(self, points: Tensor, nearest: Tensor) -> Tensor:
        """float32 (B, h, h), from points (B, cells, D) to the patches in rows int64 (B, cells)."""
        difference = points - self.patches[nearest]
        return difference.square().sum(2).sqrt().view(-1, self.side, self.side)

    def _nearest(self, points: Tensor, max_elements: int, own: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Rows of the nearest patches, int64 (B, cells).

        Args:
            points: float32 (B, cells, D).
            max_elements: as `distances` takes it.
            own: the patches' images (M,) and the points' (B,), which are not compared with their own patches
                where there are others; None compares all.
        """
        norms = self.patches.square().sum(1)
        numbers = torch.arange(len(self.patches), device=points.device)
        whole = (self.patches, norms, numbers, *(own[:1] if own else ()))
        columns = []
        # Without a reach all patches are near every cell.
        runs_of_cells = self._within_reach() or [[slice(None)]] * points.shape[1]
        for cell, runs in enumerate(runs_of_cells):
            near, lengths, rows, *owners = (
                part[runs[0]] if len(runs) == 1 else torch.cat([part[run] for run in runs]) for part in whole
            )
            size = max(1, max_elements // len(near))
            images = own[1].split(size) if own else ()
            blocks = [
                _nearest(block, near, lengths, owners[0] == images[number][:, None] if own else None)
                for number, block in enumerate(points[:, cell].split(size))
            ]
            columns.append(rows[torch.cat(blocks)])
        return torch.stack(columns, 1)

    def _within_reach(self) -> list[list[slice]]:
        """For each cell the runs of remembered patches that are from the cells around it, a run a row.

        Nothing where there is no reach.
        """
        if self.reach is None:
            return []
        side = self.side
        each = len(self.patches) // (side * side)  # as many of every cell
        runs = []
        for row in range(side):
            for column in range(side):
                left, right = max(0, column - self.reach), min(side, column + self.reach + 1)
                near = range(max(0, row - self.reach), min(side, row + self.reach + 1))
                runs.append([slice((r * side + left) * each, (r * side + right) * each) for r in near])
        return runs


def _nearest(points: Tensor, patches: Tensor, norms: Tensor, barred: Tensor | None) -> Tensor:
    with full_precision(points.device):
        products = points @ patches.T
    # The point's own length is the same for all of them.
    distances = norms - 2 * products
    return (distances if barred is None else distances.masked_fill(barred, torch.inf)).argmin(1)
