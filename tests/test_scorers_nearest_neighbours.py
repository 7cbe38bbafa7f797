"""NearestNeighbours against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import NearestNeighbors

from anatpaste_gpu import NearestNeighbours

from .test_scorers_kernel_density import unit_points


def reference(train: torch.Tensor, queries: torch.Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Brute force over differences, in float64."""
    estimator = NearestNeighbors(n_neighbors=k, algorithm="kd_tree").fit(train.double().numpy())
    distances, rows = estimator.kneighbors(queries.double().numpy())
    return distances, rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_size_of_the_paper_matches_scikit_learn(dtype: torch.dtype) -> None:
    train, queries = unit_points(6614, 512, 0).to(dtype), unit_points(40, 512, 1).to(dtype)
    distances, rows = NearestNeighbours(5).fit(train).kneighbors(queries)
    expected, expected_rows = reference(train, queries, 5)
    # The distances are float64 sums of 512 squares; where float32 products could not tell two candidates
    # apart, the other one was taken, whose squared distance differs by their rounding, some 1e-7.
    np.testing.assert_allclose(distances, expected, rtol=1e-13 if dtype == torch.float64 else 1e-6)
    assert (rows.numpy() == expected_rows).mean() > 0.99
    np.testing.assert_allclose(
        NearestNeighbours(5).fit(train).score_samples(queries), -expected.mean(1), rtol=1e-6
    )
    kth = NearestNeighbours(5, neighbour_distance="kth").fit(train)
    np.testing.assert_allclose(kth.score_samples(queries), -expected[:, -1], rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 40),
    dimensions=st.integers(1, 8),
    k=st.integers(1, 40),
    max_elements=st.integers(1, 300),
    seed=st.integers(0, 2**31),
)
def test_any_shape_and_chunking_matches_scikit_learn(
    count: int, dimensions: int, k: int, max_elements: int, seed: int
) -> None:
    k = min(k, count)
    generator = torch.Generator().manual_seed(seed)
    train = torch.randn(count, dimensions, generator=generator, dtype=torch.float64)
    queries = torch.randn(9, dimensions, generator=generator, dtype=torch.float64)
    distances, rows = NearestNeighbours(k, max_elements=max_elements).fit(train).kneighbors(queries)
    expected, _ = reference(train, queries, k)
    np.testing.assert_allclose(distances, expected, rtol=1e-12)  # a handful of float64 roundings
    chosen = (queries[:, None] - train[rows]).norm(dim=2)
    np.testing.assert_allclose(chosen, distances, rtol=1e-12)
    assert all(len(set(row)) == k for row in rows.tolist()), "no training point twice"


def test_a_training_point_is_its_own_neighbour_at_distance_zero() -> None:
    """Float32 products alone would give 3e-4: what is left of 1 + 1 - 2 after its root."""
    train = unit_points(200, 512, 3).float()
    distances, rows = NearestNeighbours(1).fit(train).kneighbors(train)
    assert (distances == 0).all()
    assert torch.equal(rows[:, 0], torch.arange(200))


def test_duplicates_count_one_by_one() -> None:
    train = torch.tensor([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0]])
    estimator = NearestNeighbours(3).fit(train)
    distances, rows = estimator.kneighbors(torch.zeros(1, 2))
    assert distances.tolist() == [[0, 0, 5]]
    assert sorted(rows[0].tolist()) == [0, 1, 2]
    assert estimator.score_samples(torch.zeros(0, 2)).shape == (0,)


def test_k_is_any_whole_number() -> None:
    points = unit_points(6, 3, 0)
    scores = NearestNeighbours(np.int64(2)).fit(points).score_samples(points)
    assert torch.equal(scores, NearestNeighbours(2).fit(points).score_samples(points))


@pytest.mark.parametrize("k", [0, -1, 2.5, 2.0, True, "2", None])
def test_k_is_nothing_else(k: object) -> None:
    with pytest.raises(ValueError, match=f"n_neighbors must be a whole number >= 1, got {k!r}"):
        NearestNeighbours(k).fit(unit_points(6, 3, 0))  # type: ignore[arg-type]


def test_exceptions() -> None:
    points = unit_points(4, 3, 0)
    with pytest.raises(NotFittedError, match="this NearestNeighbours is not fitted yet; call fit first"):
        NearestNeighbours().kneighbors(points)
    too_many = "n_neighbors must be at most the number of training points, got 5 for n_samples = 4"
    with pytest.raises(ValueError, match=too_many):
        NearestNeighbours(5).fit(points)
    with pytest.raises(ValueError, match=too_many):
        NearestNeighbours(5).load_state({"training_data": points})
    with pytest.raises(ValueError, match=too_many):
        NearestNeighbours(4).fit(points).set_params(n_neighbors=5).kneighbors(points)
    with pytest.raises(ValueError, match=r"n_neighbors must be a whole number >= 1, got 2\.5"):
        NearestNeighbours(4).fit(points).set_params(n_neighbors=2.5).score_samples(points)
    with pytest.raises(ValueError, match="neighbour_distance must be one of mean, kth, got 'median'"):
        NearestNeighbours(1, neighbour_distance="median").fit(points)
    with pytest.raises(ValueError, match="max_elements must be a whole number >= 1, got 0"):
        NearestNeighbours(1, max_elements=0).fit(points)
    with pytest.raises(ValueError, match="could not convert string to float"):
        NearestNeighbours(1).fit([["a"]])
