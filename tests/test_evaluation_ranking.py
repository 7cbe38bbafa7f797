"""The area under the ROC curve by ranks, against scikit-learn; and that nothing has an area of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from anatpaste_gpu.evaluation import auc, delong_test
from anatpaste_gpu.evaluation.bootstrap import metrics_of_counts
from anatpaste_gpu.evaluation.ranking import auc_by_ranks

two_classes = st.lists(st.integers(0, 1), min_size=2, max_size=60).filter(
    lambda values: 0 < sum(values) < len(values)
)


@given(labels=two_classes, levels=st.integers(1, 60), seed=st.integers(0, 2**31))
@settings(max_examples=200, deadline=None)
def test_equals_scikit_learn_with_any_ties(labels: list[int], levels: int, seed: int) -> None:
    scores = np.random.default_rng(seed).integers(0, levels, len(labels)) / 7
    ours = auc_by_ranks(torch.tensor(labels), torch.from_numpy(scores))
    assert ours.dtype == torch.float64
    # scikit-learn adds up at most 60 trapezoids of rounded rates, each off by 1e-16; ours is rounded once.
    assert float(ours) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@given(labels=two_classes, levels=st.integers(1, 60), seed=st.integers(0, 2**31))
@settings(max_examples=200, deadline=None)
def test_the_area_on_arrays_and_that_of_resamplings_are_equal_to_the_bit(
    labels: list[int], levels: int, seed: int
) -> None:
    scores = np.random.default_rng(seed).integers(0, levels, len(labels)) / 7
    area = auc(labels, scores)
    assert area == float(auc_by_ranks(torch.tensor(labels), torch.from_numpy(scores)))
    distinct, ranks = np.unique(scores, return_inverse=True)
    abnormal, normal = (
        np.bincount(ranks[np.array(labels) == label], minlength=len(distinct)) for label in (1, 0)
    )
    assert area == metrics_of_counts(abnormal, normal, 0)[0]
    if 2 <= sum(labels) <= len(labels) - 2:
        result = delong_test(labels, scores, -scores)
        assert (result.auc_a, result.auc_b) == (area, auc(labels, -scores))


def test_arrays_that_torch_cannot_share_are_taken() -> None:
    labels, scores = np.array([1, 0, 1, 0]), np.array([4.0, 3.0, 2.0, 1.0])
    scores.flags.writeable = False
    assert auc(labels[::-1], scores[::-1]) == auc(labels, scores) == 0.75


def test_known_areas_are_exact() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    for scores, area in (
        ([1, 2, 3, 4], 1.0),
        ([4, 3, 2, 1], 0.0),
        ([1, 1, 1, 1], 0.5),
        ([1, 3, 2, 3], 0.625),
    ):
        assert auc_by_ranks(labels, torch.tensor(scores, dtype=torch.float64)) == area


def test_two_hundred_thousand_images_do_not_overflow() -> None:
    labels = torch.arange(200_000) % 2
    scores = torch.arange(200_000, dtype=torch.float64)
    assert auc_by_ranks(labels, scores) == (100_000 * 100_001 / 2) / 1e10


def test_a_missing_class_is_no_number() -> None:
    assert auc_by_ranks(torch.zeros(3), torch.rand(3)).isnan()
