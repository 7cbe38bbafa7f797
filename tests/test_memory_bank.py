"""What the method memory remembers: which patches, and how far others are from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from anatpaste_gpu.methods.memory import MemorySettings
from anatpaste_gpu.methods.memory.bank import PatchMemory
from anatpaste_gpu.methods.memory.coreset import k_centre_greedy, project


def features(count: int, channels: int, side: int, seed: int = 0) -> Tensor:
    return torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(seed))


class TestCoreset:
    @staticmethod
    def greedy(points: np.ndarray, count: int, first: int) -> list[int]:
        """As one would write it down."""
        chosen = [first]
        while len(chosen) < count:
            distances = np.linalg.norm(points[:, None] - points[chosen], axis=2).min(1)
            chosen.append(int(distances.argmax()))
        return chosen

    @settings(deadline=None, max_examples=30)
    @given(seed=st.integers(0, 999), count=st.integers(1, 12), groups=st.integers(1, 3))
    def test_as_written_down(self, seed: int, count: int, groups: int) -> None:
        # Random reals: no two distances are so near that float32 would order them otherwise.
        points = torch.randn(groups, 12, 5, generator=torch.Generator().manual_seed(seed))
        first = torch.randint(12, (groups,), generator=torch.Generator().manual_seed(seed))
        chosen = k_centre_greedy(points, count, first)
        for group in range(groups):
            expected = self.greedy(points[group].double().numpy(), count, int(first[group]))
            assert chosen[group].tolist() == expected

    def test_no_point_is_chosen_twice_even_where_all_are_one(self) -> None:
        chosen = k_centre_greedy(torch.full((1, 7, 3), 0.1), 7, torch.tensor([2]))
        assert sorted(chosen[0].tolist()) == list(range(7))

    def test_projection_keeps_distances(self) -> None:
        points = torch.randn(40, 300, generator=torch.Generator().manual_seed(1))
        ratio = torch.pdist(project(points, 128, 0)) / torch.pdist(points)
        # The deviation of a ratio is about 1 / sqrt(2 * 128) = 0.06; 780 pairs stay within five of them.
        assert ((ratio - 1).abs() < 0.32).all()
        assert abs(float(ratio.mean()) - 1) < 0.03
        assert torch.equal(project(points, 128, 0), project(points, 128, 0))
        assert project(points, 0, 0) is points
        assert project(points, 300, 0) is points

    @pytest.mark.parametrize("reach", [None, 0, 1])
    def test_budget(self, reach: int | None) -> None:
        maps = features(30, 6, 4)
        memory = PatchMemory.of(maps, MemorySettings(reach=reach), 0, budget=2000)
        size = memory.patches.numel() * 4
        assert size <= 2000
        assert size > 2000 - 16 * 6 * 4, "as many as there is room for"
        enough = PatchMemory.of(maps, MemorySettings(reach=reach), 0, budget=1 << 20)
        assert len(enough.patches) == 30 * 16

    def test_too_small_a_budget(self) -> None:
        with pytest.raises(
            ValueError, match=r"memory\.budget must hold a patch of every cell, 1 MiB or more"
        ):
            PatchMemory.of(features(3, 6, 4), MemorySettings(), 0, budget=16 * 6 * 4 - 1)


class TestDistances:
    @pytest.mark.parametrize("reach", [None, 0, 1, 9])
    @pytest.mark.parametrize("position", [0.0, 2.5])
    @pytest.mark.parametrize("unit", [False, True])
    @pytest.mark.parametrize("scaling", ["none", "standardise", "whiten"])
    def test_as_scikit_learn(self, reach: int | None, position: float, scaling: Any, unit: bool) -> None:
        normal, asked = features(9, 6, 5), features(4, 6, 5, seed=1)
        chosen = MemorySettings(reach=reach, position=position, scaling=scaling, unit=unit)
        memory = PatchMemory.of(normal, chosen, 0, budget=1 << 20)
        found = memory.distances(asked, max_elements=200)
        tall, wide = normal.double().numpy(), asked.double().numpy()
        flat = tall.transpose(1, 0, 2, 3).reshape(6, -1)
        matrix = np.eye(6)
        if scaling == "standardise":
            matrix = np.diag(1 / flat.std(1))
        elif scaling == "whiten":
            covariance = np.cov(flat, bias=True)
            shrunk = 0.9 * covariance + 0.1 * np.trace(covariance) / 6 * np.eye(6)
            matrix = scipy.linalg.inv(scipy.linalg.sqrtm(shrunk).real)  # another whitening than Cholesky's
        centre = flat.mean(1)[None, :, None, None]
        tall, wide = (np.einsum("bchw,cd->bdhw", maps - centre, matrix) for maps in (tall, wide))
        if unit:
            tall, wide = (maps / np.linalg.norm(maps, axis=1, keepdims=True) for maps in (tall, wide))
        rows, columns = np.mgrid[:5, :5]

        def points(maps: np.ndarray, row: slice, column: slice) -> np.ndarray:
            places = np.stack([rows, columns])[None].repeat(len(maps), 0) * position / 5
            part = np.concatenate([maps, places], 1)[:, :, row, column]
            return part.transpose(0, 2, 3, 1).reshape(-1, 8)

        for row, column in np.ndindex(5, 5):
            near = (slice(None), slice(None))
            if reach is not None:
                near = tuple(slice(max(0, at - reach), at + reach + 1) for at in (row, column))
            reference = NearestNeighbors(n_neighbors=1).fit(points(tall, *near))
            cell = points(wide, slice(row, row + 1), slice(column, column + 1))
            # float32 sums of eight squares against float64.
            np.testing.assert_allclose(
                found[:, row, column], reference.kneighbors(cell)[0][:, 0], rtol=1e-5, atol=1e-5
            )

    def test_a_constant_feature_does_not_count(self) -> None:
        normal = features(5, 3, 2)
        normal[:, 1] = 4
        memory = PatchMemory.of(normal, MemorySettings(scaling="standardise"), 0, budget=1 << 20)
        other = normal.clone()
        other[:, 1] = 99
        assert torch.equal(memory.distances(other, 100), torch.zeros(5, 2, 2))
        nothing = torch.full((5, 3, 2, 2), 0.1)  # no feature changes
        for scaling in ("standardise", "whiten"):
            flat = PatchMemory.of(nothing, MemorySettings(scaling=scaling), 0, budget=1 << 20)
            assert torch.equal(flat.distances(normal, 100), torch.zeros(5, 2, 2))

    @pytest.mark.parametrize("reach", [None, 0, 1])
    @pytest.mark.parametrize("limit", [1, 1 << 20])
    def test_usual_distances_leave_an_images_own_patches_out(self, reach: int | None, limit: int) -> None:
        normal = features(7, 4, 3)
        chosen = MemorySettings(scaling="none", unit=False, reach=reach)
        memory = PatchMemory.of(normal, chosen, 0, 1 << 20, limit)
        expected = np.zeros((3, 3))
        for image in range(7):
            others = PatchMemory.of(normal[[i for i in range(7) if i != image]], chosen, 0, 1 << 20)
            expected += others.distances(normal[image : image + 1], 1 << 20)[0].numpy() / 7
        # Means of seven float32.
        np.testing.assert_allclose(memory.usual, expected, rtol=1e-6)
        assert expected.min() > 0

    def test_one_image_alone_has_no_usual_distance(self) -> None:
        memory = PatchMemory.of(features(1, 4, 3), MemorySettings(scaling="none"), 0, 1 << 20)
        assert torch.equal(memory.usual, torch.zeros(3, 3))

    def test_elements_at_once_do_not_matter(self) -> None:
        normal, asked = features(9, 6, 5), features(4, 6, 5, seed=1)
        for reach in (None, 1):
            memory = PatchMemory.of(normal, MemorySettings(reach=reach), 0, budget=1 << 20)
            assert torch.equal(memory.distances(asked, 1), memory.distances(asked, 1 << 24))
