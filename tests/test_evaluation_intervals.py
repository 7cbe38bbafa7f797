"""Intervals, operating points and per-finding metrics, against scikit-learn and plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from anatpaste_gpu.evaluation import auc_interval, finding_metrics, metric_intervals
from anatpaste_gpu.evaluation.bootstrap import INTERVAL_METRICS, metrics_of_counts
from anatpaste_gpu.evaluation.evaluate import ScoredSplit, evaluate
from anatpaste_gpu.evaluation.metrics import classification_metrics, sensitivity_at_specificity
from anatpaste_gpu.scorers.calibration import Calibration, normal_quantile_threshold

from .test_evaluation import labelled, labelled_scores


@given(rows=labelled, threshold=st.integers(-7, 7))
@settings(max_examples=100, deadline=None)
def test_metrics_of_counts_match_scikit_learn(rows: list[tuple[int, int]], threshold: int) -> None:
    labels, scores = np.array(rows).T
    levels = np.arange(-6, 7)
    counts = [(scores[labels == kind, None] == levels).sum(0) for kind in (1, 0)]
    got = metrics_of_counts(*counts, int(np.searchsorted(levels, threshold)))
    expected = classification_metrics(labels, scores, Calibration(threshold, 0, 1))
    # The same fractions, added in another order.
    assert got == pytest.approx([expected[name] for name in INTERVAL_METRICS], abs=1e-12)


def test_intervals_match_a_plain_loop() -> None:
    labels, scores = labelled_scores(size=120)
    threshold = 470.5
    got = metric_intervals(labels, scores, threshold, samples=600, seed=1)
    rng, draws = np.random.default_rng(7), []
    abnormal, normal = scores[labels == 1], scores[labels == 0]
    truth = np.arange(120) < 60
    for _ in range(600):
        values = np.concatenate([rng.choice(abnormal, 60), rng.choice(normal, 60)])
        one = classification_metrics(truth, values, Calibration(threshold, 0, 1))
        draws.append([one[name] for name in INTERVAL_METRICS])
    expected = np.quantile(draws, [0.025, 0.975], axis=0).T
    point = classification_metrics(labels, scores, Calibration(threshold, 0, 1))
    for name, ends in zip(INTERVAL_METRICS, expected, strict=True):
        assert got[name][0] <= point[name] <= got[name][1]
        # Quantiles of 600 draws each: the standard error of an end is a tenth of the interval.
        assert got[name] == pytest.approx(tuple(ends), abs=0.3 * (ends[1] - ends[0])), name
    assert got == metric_intervals(labels, scores, threshold, samples=600, seed=1), "the same seed"
    assert got["auc"] == auc_interval(labels, scores, samples=600, seed=1)


@given(rows=labelled, percent=st.integers(1, 100))
@settings(max_examples=60, deadline=None)
def test_sensitivity_at_a_specificity_is_the_best_there_is(rows: list[tuple[int, int]], percent: int) -> None:
    labels, scores = np.array(rows).T
    normal, abnormal = scores[labels == 0], scores[labels == 1]
    candidates = [*set(scores.tolist()), np.inf]
    allowed = [t for t in candidates if 100 * (normal < t).sum() >= percent * len(normal)]
    expected = max((abnormal >= t).mean() for t in allowed)
    assert sensitivity_at_specificity(labels, scores, percent / 100) == pytest.approx(expected, abs=1e-12)


def test_one_false_positive_in_ten_is_a_specificity_of_ninety_percent() -> None:
    """1 - 0.9 is less than 0.1 in float64, which once cost a false positive."""
    labels, scores = [0] * 10 + [1] * 4, [*range(9), 20.0, 9.0, 10.0, 11.0, 5.5]
    assert sensitivity_at_specificity(labels, scores) == 0.75


@given(scores=st.lists(st.integers(-5, 5), min_size=1, max_size=40), percent=st.integers(1, 100))
@settings(max_examples=60, deadline=None)
def test_normal_quantile_threshold_is_the_lowest_that_keeps_its_promise(
    scores: list[int], percent: int
) -> None:
    values = np.array(scores, float)
    threshold = normal_quantile_threshold(values, percent / 100)
    assert 100 * (values < threshold).sum() >= percent * len(values)
    lower = values[values < threshold].max()
    assert 100 * (values < lower).sum() < percent * len(values)


def test_normal_quantile_threshold_lies_between_two_scores() -> None:
    assert normal_quantile_threshold(np.arange(100.0)) == 94.5
    assert normal_quantile_threshold([1.0, 2.0], 1) == np.nextafter(2.0, 3)


def test_calibration_by_normals() -> None:
    calibration = Calibration.fit([0, 0, 1, 1], [1.0, 4.0, 3.0, 5.0])
    assert calibration.by_normals() == Calibration(np.nextafter(4.0, 5), 1.0, 5.0, np.nextafter(4.0, 5))
    with pytest.raises(ValueError, match="holds no threshold drawn from normal images"):
        Calibration(1.0, 0.0, 2.0).by_normals()


def test_a_finding_is_told_from_all_normals() -> None:
    labels, scores = labelled_scores(size=40)
    findings = [
        ("mass", "effusion")[: 1 + n // 2 % 2] if label else ("mass",) for n, label in enumerate(labels)
    ]
    findings[1] = ("nodule",)
    calibration = Calibration.fit(labels, scores)
    table = finding_metrics(labels, scores, findings, calibration, bootstrap_samples=100)
    assert list(table) == ["effusion", "mass", "nodule"]
    mass = np.array([bool(label) and "mass" in own for label, own in zip(labels, findings, strict=True)])
    chosen = mass | (labels == 0)
    # scikit-learn sums trapezoids of rounded rates, ours is rounded once.
    assert table["mass"]["auc"] == pytest.approx(
        sklearn_metrics.roc_auc_score(mass[chosen], scores[chosen]), abs=1e-12
    )
    assert (table["mass"]["normal"], table["mass"]["abnormal"]) == (20, int(mass.sum()))
    low, high = table["mass"]["intervals"]["auc"]
    assert low <= table["mass"]["auc"] <= high
    assert table["nodule"]["abnormal"] == 1
    assert "intervals" not in table["nodule"], "one image has no spread"


def test_evaluate_reports_both_thresholds_and_findings() -> None:
    labels, scores = labelled_scores()
    names = [str(n) for n in range(len(labels))]
    split = ScoredSplit("test", names, labels, scores, [("mass",) if label else () for label in labels])
    calibration = Calibration.fit(labels, scores)
    content = evaluate(split, split, calibration, bootstrap_samples=100, seed=0)
    assert content["test"]["intervals"]["auc"] == content["test"]["auc_interval"]
    assert set(content["test"]["intervals"]) == set(INTERVAL_METRICS)
    by_normals = content["normal_threshold"]
    assert by_normals["threshold"] == calibration.normal_threshold
    assert by_normals["test"]["specificity"] >= 0.95, "validation and test are the same images here"
    assert by_normals["test"]["auc"] == content["test"]["auc"]
    assert content["findings"]["mass"]["auc"] == content["test"]["auc"]


def test_exceptions() -> None:
    with pytest.raises(ValueError, match="at least two images of each class, got 1 normal and 2 abnormal"):
        metric_intervals([0, 1, 1], [1.0, 2.0, 3.0], 2.0)
    with pytest.raises(ValueError, match="needs finite scores of normal images"):
        normal_quantile_threshold([])
    with pytest.raises(ValueError, match=r"quantile must be in \(0, 1\], got 0"):
        normal_quantile_threshold([1.0], 0)
    with pytest.raises(ValueError, match="findings must be one collection an image, got 1 for 2"):
        finding_metrics([0, 1], [1.0, 2.0], [()], Calibration(1, 0, 2))
