"""Mahalanobis against scikit-learn's LedoitWolf."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import LedoitWolf
from sklearn.exceptions import NotFittedError

from anatpaste_gpu import Mahalanobis

from .test_scorers_kernel_density import unit_points


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_size_of_the_paper_matches_scikit_learn(dtype: torch.dtype) -> None:
    train, queries = unit_points(6614, 512, 0).to(dtype), unit_points(40, 512, 1).to(dtype)
    ours = Mahalanobis().fit(train)
    peer = LedoitWolf().fit(train.double().numpy())
    # Sums of 6,614 products in float64 on both sides, in another order.
    np.testing.assert_allclose(ours.location_, peer.location_, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(ours.covariance_, peer.covariance_, rtol=1e-9, atol=1e-15)
    assert ours.shrinkage_ == pytest.approx(peer.shrinkage_, rel=1e-9)
    distances = ours.mahalanobis(queries)
    assert distances.dtype == torch.float64
    # A Cholesky factor here, a pseudo-inverse there; the shrunk covariance's condition is below 1e3.
    np.testing.assert_allclose(distances, peer.mahalanobis(queries.double().numpy()), rtol=1e-9)
    np.testing.assert_allclose(ours.score_samples(queries), -np.sqrt(distances.numpy()), rtol=1e-15)


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(3, 40),
    dimensions=st.integers(1, 12),
    max_elements=st.integers(1, 200),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    seed=st.integers(0, 2**31),
)
def test_any_shape_and_chunking_matches_scikit_learn(
    count: int, dimensions: int, max_elements: int, scale: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    train = scale * torch.randn(count, dimensions, generator=generator, dtype=torch.float64)
    queries = scale * torch.randn(9, dimensions, generator=generator, dtype=torch.float64)
    ours = Mahalanobis(max_elements=max_elements).fit(train)
    peer = LedoitWolf().fit(train.numpy())
    # Few points leave a covariance of condition 1e4 at worst, which multiplies 1e-15 of rounding.
    np.testing.assert_allclose(ours.mahalanobis(queries), peer.mahalanobis(queries.numpy()), rtol=1e-8)
    assert ours.shrinkage_ == pytest.approx(peer.shrinkage_, rel=1e-8, abs=1e-12)


def test_fewer_points_than_dimensions_and_a_dead_feature() -> None:
    """What an untrained network's embeddings look like: features that never fire."""
    train, queries = unit_points(20, 64, 3), unit_points(5, 64, 4)
    train[:, 7] = queries[:, 7] = 0
    ours = Mahalanobis().fit(train).mahalanobis(queries)
    peer = LedoitWolf().fit(train.numpy()).mahalanobis(queries.numpy())
    np.testing.assert_allclose(ours, peer, rtol=1e-9)  # the shrinkage keeps the condition below 1e3


def test_data_far_from_the_origin_does_not_cancel() -> None:
    train = unit_points(100, 8, 6).float() + 1000
    queries = unit_points(10, 8, 7).float() + 1000
    peer = LedoitWolf().fit(train.double().numpy()).mahalanobis(queries.double().numpy())
    # Float32 was rounded before either saw it; the mean is then taken off in float64.
    np.testing.assert_allclose(Mahalanobis().fit(train).mahalanobis(queries), peer, rtol=1e-8)


def test_the_mean_scores_highest_and_the_callers_data_is_left_alone() -> None:
    train = unit_points(30, 4, 8)
    before = train.clone()
    estimator = Mahalanobis()
    assert estimator.fit(train) is estimator
    assert float(estimator.score_samples(estimator.location_[None])) == 0
    assert torch.equal(train, before)
    assert estimator.score_samples(train[:0]).shape == (0,)


def by_loops(train: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Squared distances with the covariance as Ledoit and Wolf (2004) define it, point by point."""
    count, features = train.shape
    centred = train - train.mean(0)
    sample = sum(np.outer(row, row) for row in centred) / count
    target = np.trace(sample) / features * np.eye(features)
    spread = ((sample - target) ** 2).sum()
    noise = sum(((np.outer(row, row) - sample) ** 2).sum() for row in centred) / count**2
    share = min(noise, spread) / spread if spread else 0
    precision = np.linalg.inv(share * target + (1 - share) * sample)
    return np.array([(row - train.mean(0)) @ precision @ (row - train.mean(0)) for row in queries])


@settings(max_examples=30, deadline=None)
@given(count=st.integers(4, 30), dimensions=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_matches_the_definition_in_numpy(count: int, dimensions: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    train, queries = generator.normal(size=(count, dimensions)), generator.normal(size=(5, dimensions))
    scores = Mahalanobis().fit(train).score_samples(queries)
    # Few points leave a covariance of condition 1e4 at worst, which multiplies 1e-15 of rounding.
    np.testing.assert_allclose(scores, -np.sqrt(by_loops(train, queries)), rtol=1e-8)


def test_exceptions() -> None:
    with pytest.raises(NotFittedError, match="this Mahalanobis is not fitted yet; call fit first"):
        Mahalanobis().mahalanobis(torch.zeros(1, 2))
    with pytest.raises(ValueError, match="X must hold 2 or more training points, got n_samples = 1"):
        Mahalanobis().fit(torch.ones(1, 3))
    with pytest.raises(ValueError, match="X must hold points that differ, got 5 equal ones"):
        Mahalanobis().fit(torch.ones(5, 3))
    with pytest.raises(ValueError, match="X must vary in every direction, got 2 points of 3 features"):
        Mahalanobis().fit(torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]]))
    with pytest.raises(ValueError, match="X must be finite, got NaN or infinity"):
        Mahalanobis().fit(torch.tensor([[math.nan], [1.0]]))
    with pytest.raises(ValueError, match="max_elements must be a whole number >= 1, got 0"):
        Mahalanobis(max_elements=0).fit(unit_points(5, 2, 0))
    with pytest.raises(ValueError, match=r"X must have 2 columns as in fit, got shape \(1, 3\)"):
        Mahalanobis().fit(unit_points(5, 2, 0)).score_samples(torch.zeros(1, 3))
