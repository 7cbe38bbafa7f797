"""DeLong's test against R's pROC and against its own definition as a double loop."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sklearn_metrics

from anatpaste_gpu.evaluation import delong_test

# Rounded normal variates with ties, and what pROC 1.18.0 (R 4.2) prints for them with
# roc.test(roc(labels, a, direction = "<"), roc(labels, b, direction = "<"), method = "delong").
LABELS = [0] * 18 + [1] * 15
A = [-0.8, -1.3, -0.2, 0.4, 1.1, 0.1, -0.6, -0.8, 0.7, 1.6, 0.3, -1.2, -1.0, 1.6, 0.2, -1.7, -0.1, -1.2]
A += [0.6, 0.7, 0.5, 1.8, 1.1, 0.6, 1.6, 2.0, -0.4, 0.9, 0.2, 1.0, -0.1, 1.2, 1.2]
B = [-0.5, -1.2, -0.4, -0.8, -0.8, 0.2, -1.1, 0.7, 0.8, -1.1, 0.3, -1.2, -0.3, 0.5, -1.5, -0.7, -0.2, 0.4]
B += [-0.3, 1.3, -0.2, 0.8, 0.2, 1.8, 1.4, 3.0, 0.9, 1.4, 1.2, 0.3, 0.4, 1.9, 0.5]


def test_matches_r_proc() -> None:
    result = delong_test(LABELS, A, B)
    # pROC prints twelve digits.
    digits = {"rel": 1e-11}
    assert result.auc_a == pytest.approx(0.8, **digits)
    assert result.auc_b == pytest.approx(0.887037037037, **digits)
    assert result.z == pytest.approx(-0.979690282853, **digits)
    assert result.p == pytest.approx(0.327239024119, **digits)
    assert result.interval == pytest.approx((-0.2611629428456, 0.0870888687715), **digits)
    assert result.difference == result.auc_a - result.auc_b


def definition(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Difference and standard error as DeLong et al. define them: every pair is compared, in loops."""
    abnormal, normal = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)

    def psi(high: float, low: float) -> float:
        return 1.0 if high > low else 0.5 if high == low else 0.0

    v10 = [[sum(psi(s[i], s[j]) for j in normal) / len(normal) for i in abnormal] for s in (first, second)]
    v01 = [[sum(psi(s[i], s[j]) for i in abnormal) / len(abnormal) for j in normal] for s in (first, second)]
    covariance = np.cov(v10) / len(abnormal) + np.cov(v01) / len(normal)
    contrast = np.array([1.0, -1.0])
    return float(np.mean(v10, 1) @ contrast), math.sqrt(max(contrast @ covariance @ contrast, 0.0))


rows = st.lists(
    st.tuples(st.integers(0, 1), st.integers(-5, 5), st.integers(-5, 5)), min_size=4, max_size=30
).filter(lambda table: 2 <= sum(label for label, *_ in table) <= len(table) - 2)


@given(table=rows)
@settings(max_examples=60, deadline=None)
def test_matches_the_definition(table: list[tuple[int, int, int]]) -> None:
    labels, first, second = np.array(table).T
    difference, error = definition(labels, first, second)
    result = delong_test(labels, first, second)
    assert result.auc_a == pytest.approx(sklearn_metrics.roc_auc_score(labels, first), abs=1e-12)
    # Rounding only; the error is a root, so 1e-16 of rounding in a variance of 0 shows as 1e-8.
    assert result.difference == pytest.approx(difference, abs=1e-12)
    assert result.standard_error == pytest.approx(error, abs=1e-7)
    swapped = delong_test(labels, second, first)
    assert (swapped.z, swapped.p) == (-result.z, result.p)


def test_p_is_uniform_under_the_null() -> None:
    """Two equally good detectors, a thousand times: about five in a hundred p-values are below 0.05."""
    rng = np.random.default_rng(3)
    labels = np.arange(80) % 2
    values = rng.normal(size=(1000, 2, 80)) + rng.normal(size=(1000, 1, 80)) + labels
    p = [delong_test(labels, first, second).p for first, second in values]
    # The test is exact only for many images, so 0.001 and not 0.05; the seed is fixed, so it never flaps.
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_equal_scores_do_not_differ() -> None:
    result = delong_test(LABELS, A, [2 * value + 1 for value in A])
    assert (result.difference, result.standard_error, result.z, result.p) == (0, 0, 0, 1)


def test_a_difference_without_any_spread_is_certain() -> None:
    result = delong_test([0, 0, 1, 1], [1, 2, 3, 4], [4, 3, 2, 1])
    assert (result.z, result.p) == (math.inf, 0)


def test_exceptions() -> None:
    with pytest.raises(ValueError, match="at least two images of each class, got 1 normal and 2 abnormal"):
        delong_test([0, 1, 1], [1, 2, 3], [1, 2, 3])
    with pytest.raises(
        ValueError, match=r"labels and scores must have one shape \(N,\), got \(4,\) and \(3,\)"
    ):
        delong_test([0, 0, 1, 1], [1, 2, 3, 4], [1, 2, 3])
