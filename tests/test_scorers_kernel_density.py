"""KernelDensity against scikit-learn, and against the formula written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import KernelDensity as Reference

from anatpaste_gpu import KernelDensity


def unit_points(count: int, dimensions: int, seed: int) -> torch.Tensor:
    """L2-normalised rows around a common direction, as embeddings of similar images are."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(count, dimensions, generator=generator, dtype=torch.float64) + 1.5
    return torch.nn.functional.normalize(points, dim=1)


def reference(train: torch.Tensor, queries: torch.Tensor, **options: object) -> np.ndarray:
    weight = options.pop("sample_weight", None)
    # atol=rtol=0 turns scikit-learn's tree approximation off
    estimator = Reference(atol=0, rtol=0, **options).fit(train.double().numpy(), sample_weight=weight)
    return estimator.score_samples(queries.double().numpy())


# float64: both sum thousands of exponentials in different orders, about 1e-12 relative to values near 500.
# float32: the products carry 24 bits; unit vectors bound their error near 1e-7, halved by the exponent.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-6}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_size_of_the_paper_matches_scikit_learn(dtype: torch.dtype) -> None:
    train, queries = unit_points(6614, 512, 0).to(dtype), unit_points(40, 512, 1).to(dtype)
    ours = KernelDensity().fit(train).score_samples(queries)
    assert ours.dtype == torch.float64
    assert ours.shape == (40,)
    np.testing.assert_allclose(ours.numpy(), reference(train, queries), rtol=0, atol=TOLERANCE[dtype])


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 40),
    dimensions=st.integers(1, 8),
    bandwidth=st.sampled_from([0.05, 0.5, 1.0, 7.0, "scott", "silverman"]),
    max_elements=st.integers(1, 500),
    seed=st.integers(0, 2**31),
)
def test_any_shape_bandwidth_and_chunking_matches_scikit_learn(
    count: int, dimensions: int, bandwidth: float | str, max_elements: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    train = torch.randn(count, dimensions, generator=generator, dtype=torch.float64)
    queries = torch.randn(9, dimensions, generator=generator, dtype=torch.float64)
    ours = KernelDensity(bandwidth, max_elements=max_elements).fit(train).score_samples(queries)
    # at bandwidth 0.05 exponents reach -10,000, where one part in 1e14 is 1e-10
    np.testing.assert_allclose(
        ours.numpy(), reference(train, queries, bandwidth=bandwidth), rtol=1e-13, atol=1e-10
    )


def test_one_point_is_the_gaussian_itself() -> None:
    density = KernelDensity(2.0).fit(torch.zeros(1, 3, dtype=torch.float64))
    point = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
    expected = stats.multivariate_normal(np.zeros(3), 4 * np.eye(3)).logpdf(point.numpy())
    assert density.score_samples(point).item() == pytest.approx(expected, abs=1e-13)  # a handful of roundings


def test_sample_weights_match_scikit_learn() -> None:
    train, queries = unit_points(50, 6, 2), unit_points(20, 6, 3)
    weight = torch.linspace(0.1, 3, 50, dtype=torch.float64)
    ours = KernelDensity(0.3).fit(train, sample_weight=weight).score_samples(queries)
    expected = reference(train, queries, bandwidth=0.3, sample_weight=weight.numpy())
    np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=1e-10)  # summation order only


@pytest.mark.parametrize("bandwidth", [0.3, "scott"])
def test_a_weight_of_zero_is_a_point_that_is_not_there(bandwidth: float | str) -> None:
    train, queries = unit_points(50, 6, 2), unit_points(20, 6, 3)
    weight = torch.linspace(-1, 1, 50).clamp(min=0)
    ours = KernelDensity(bandwidth).fit(train, sample_weight=weight).score_samples(queries)
    without = KernelDensity(bandwidth).fit(train[weight > 0], sample_weight=weight[weight > 0])
    assert torch.equal(ours, without.score_samples(queries))


def test_weights_of_any_kind_of_array() -> None:
    train, queries = unit_points(4, 2, 2), unit_points(3, 2, 3)
    weights = [1, 2, 3, 4]
    scores = [
        KernelDensity().fit(train, sample_weight=given).score_samples(queries)
        for given in (weights, np.array(weights), torch.tensor(weights))
    ]
    assert torch.equal(scores[0], scores[1])
    assert torch.equal(scores[0], scores[2])


@pytest.mark.parametrize("bandwidth", [np.int64(2), np.float32(2), np.float64(2), 2])
def test_a_bandwidth_is_any_number(bandwidth: float) -> None:
    train, queries = unit_points(10, 3, 0), unit_points(4, 3, 1)
    density = KernelDensity(bandwidth).fit(train)
    assert type(density.bandwidth_) is float
    assert torch.equal(density.score_samples(queries), KernelDensity(2.0).fit(train).score_samples(queries))


@pytest.mark.parametrize("bandwidth", [True, np.True_, None, [1.0], np.ones(2), "0.5"])
def test_a_bandwidth_is_nothing_else(bandwidth: object) -> None:
    with pytest.raises(ValueError, match='bandwidth must be a number > 0, "scott" or "silverman", got '):
        KernelDensity(bandwidth).fit(torch.zeros(2, 3))  # type: ignore[arg-type]


@pytest.mark.parametrize("bandwidth", [0, -0.5, math.nan, math.inf])
def test_a_bandwidth_out_of_range(bandwidth: float) -> None:
    with pytest.raises(ValueError, match=f"bandwidth must be a finite number > 0, got {bandwidth}"):
        KernelDensity(bandwidth).fit(torch.zeros(2, 3))


def test_far_points_keep_a_finite_log_density() -> None:
    """Densities summed unlogged underflow to 0 here; a running log-sum-exp does not."""
    train = unit_points(30, 4, 4)
    far = 1e3 * unit_points(2, 4, 5)
    ours = KernelDensity().fit(train).score_samples(far)
    assert torch.isfinite(ours).all()
    np.testing.assert_allclose(ours.numpy(), reference(train, far), rtol=1e-12)


def test_data_far_from_the_origin_does_not_cancel() -> None:
    train = unit_points(100, 8, 6).float() + 1000
    queries = unit_points(10, 8, 7).float() + 1000
    ours = KernelDensity().fit(train).score_samples(queries)
    # centring leaves vectors of length about 1, whose float32 products are good to 1e-6
    np.testing.assert_allclose(ours.numpy(), reference(train, queries), rtol=0, atol=1e-6)


def test_the_callers_data_is_left_alone_and_state_is_fitted() -> None:
    train = unit_points(10, 3, 8)
    before = train.clone()
    density = KernelDensity()
    assert density.fit(train) is density
    density.score_samples(train)
    assert torch.equal(train, before)
    assert (density.n_features_in_, density.bandwidth_) == (3, 1.0)


def test_no_queries_give_no_scores() -> None:
    scores = KernelDensity().fit(unit_points(5, 3, 9)).score_samples(torch.empty(0, 3))
    assert scores.shape == (0,)
    assert scores.dtype == torch.float64


def test_score_is_the_sum() -> None:
    train = unit_points(10, 3, 10)
    density = KernelDensity().fit(train)
    assert density.score(train) == pytest.approx(float(density.score_samples(train).sum()))


def test_samples_follow_the_density() -> None:
    density = KernelDensity(0.5).fit(torch.zeros(1, 1, dtype=torch.float64))
    drawn = density.sample(4000, generator=torch.Generator().manual_seed(0))
    assert drawn.shape == (4000, 1)
    assert stats.kstest(drawn[:, 0].numpy(), stats.norm(0, 0.5).cdf).pvalue > 1e-3


def test_matmul_precision_setting_is_restored() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        KernelDensity().fit(unit_points(5, 3, 0)).score_samples(unit_points(5, 3, 1))
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        (
            torch.zeros(3, dtype=torch.float32),
            ValueError,
            r"X must have shape \(points, features\), got \(3,\)",
        ),
        (
            torch.zeros(3, 2, dtype=torch.int64),
            TypeError,
            "X must be a floating-point tensor, got torch.int64",
        ),
        ([["a"]], ValueError, "could not convert string to float"),
        (torch.zeros(0, 2), ValueError, "X must hold 1 or more training points, got n_samples = 0"),
        (torch.tensor([[math.nan]]), ValueError, "X must be finite, got NaN or infinity"),
    ],
)
def test_bad_training_data(data: torch.Tensor, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        KernelDensity().fit(data)


def test_bad_parameters_and_queries() -> None:
    train = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="bandwidth must be a finite number > 0, got -1"):
        KernelDensity(-1).fit(train)
    with pytest.raises(
        ValueError, match='bandwidth must be a number > 0, "scott" or "silverman", got \'best\''
    ):
        KernelDensity("best").fit(train)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_elements must be a whole number >= 1, got 0"):
        KernelDensity(max_elements=0).fit(train)
    with pytest.raises(ValueError, match=r"sample_weight must have shape \(2,\), got \(3,\)"):
        KernelDensity().fit(train, sample_weight=torch.ones(3))
    with pytest.raises(ValueError, match=r"sample_weight must be >= 0 everywhere, got -1\.0"):
        KernelDensity().fit(train, sample_weight=torch.tensor([1.0, -1.0]))
    with pytest.raises(ValueError, match="sample_weight must be > 0 somewhere, got zero for all points"):
        KernelDensity().fit(train, sample_weight=[0, 0])
    with pytest.raises(ValueError, match="sample_weight must be finite, got NaN or infinity"):
        KernelDensity().fit(train, sample_weight=[1, math.inf])
    with pytest.raises(ValueError, match="n_samples must be a whole number >= 1, got 0"):
        KernelDensity().fit(train).sample(0)
    with pytest.raises(NotFittedError, match="this KernelDensity is not fitted yet; call fit first"):
        KernelDensity().sample()
    with pytest.raises(NotFittedError, match="this KernelDensity is not fitted yet; call fit first"):
        KernelDensity().score_samples(train)
    with pytest.raises(ValueError, match=r"X must have 3 columns as in fit, got shape \(2, 2\)"):
        KernelDensity().fit(train).score_samples(torch.zeros(2, 2))
