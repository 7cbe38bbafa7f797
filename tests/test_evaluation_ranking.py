"""The area under the ROC curve by ranks, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from anatpaste_gpu.evaluation.ranking import auc_by_ranks


@given(
    labels=st.lists(st.integers(0, 1), min_size=2, max_size=60).filter(
        lambda values: 0 < sum(values) < len(values)
    ),
    levels=st.integers(1, 60),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=200, deadline=None)
def test_equals_scikit_learn_with_any_ties(labels: list[int], levels: int, seed: int) -> None:
    scores = np.random.default_rng(seed).integers(0, levels, len(labels)) / 7
    ours = auc_by_ranks(torch.tensor(labels), torch.from_numpy(scores))
    assert ours.dtype == torch.float64
    # scikit-learn adds up trapezoids of rounded rates.
    assert float(ours) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


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
