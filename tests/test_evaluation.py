"""Threshold, normalisation, metrics, bootstrap and pictures, against scikit-learn and plain loops."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn import metrics as sklearn_metrics
from sklearn import neighbors

from anatpaste_gpu import Mahalanobis, NearestNeighbours
from anatpaste_gpu.data import ImageSet
from anatpaste_gpu.evaluation import auc_interval
from anatpaste_gpu.evaluation.evaluate import ScoredSplit, evaluate
from anatpaste_gpu.evaluation.metrics import classification_metrics
from anatpaste_gpu.methods import Detector
from anatpaste_gpu.methods.pretext.embedding import embed
from anatpaste_gpu.report.gallery import save_gallery
from anatpaste_gpu.report.score_plots import save_histogram, save_roc
from anatpaste_gpu.runs.records import save_scores
from anatpaste_gpu.scorers.calibration import Calibration, best_f1_threshold
from anatpaste_gpu.training.run import score_split

from .detectors import fitted, write_released


def labelled_scores(seed: int = 0, size: int = 60, levels: int = 25) -> tuple[np.ndarray, np.ndarray]:
    """Labels and rounded scores, with ties within and across the classes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(size) % 2
    return labels, np.round((rng.normal(size=size) + labels) * levels) / levels + 470


labelled = st.lists(st.tuples(st.integers(0, 1), st.integers(-6, 6)), min_size=2, max_size=40).filter(
    lambda rows: {label for label, _ in rows} == {0, 1}
)


@given(rows=labelled)
@settings(max_examples=30, deadline=None)
def test_no_threshold_has_a_better_f1(rows: list[tuple[int, int]]) -> None:
    labels, scores = np.array(rows).T
    threshold = best_f1_threshold(labels, scores)
    f1 = sklearn_metrics.f1_score(labels, scores >= threshold)
    best = max(sklearn_metrics.f1_score(labels, scores >= candidate) for candidate in set(scores.tolist()))
    # F1 is computed in two ways here, so the last bits may differ.
    assert f1 == pytest.approx(best, abs=1e-12)


def test_of_equal_thresholds_the_lowest_is_taken() -> None:
    # Calling the top one or the top three abnormal gives F1 2/3 both times.
    labels, scores = [0, 1, 0, 0, 1], [1.0, 2.0, 3.0, 4.0, 5.0]
    f1 = [sklearn_metrics.f1_score(labels, np.array(scores) >= t) for t in (1, 2, 3, 4, 5)]
    assert f1[1] == pytest.approx(f1[4])
    assert best_f1_threshold(labels, scores) == 1.5


def test_threshold_lies_between_two_scores() -> None:
    assert best_f1_threshold([0, 0, 1, 1], [1.0, 2.0, 4.0, 5.0]) == 3.0
    assert best_f1_threshold([1, 1, 0], [2.0, 2.0, 2.0]) == 2.0


def test_calibration_conventions() -> None:
    calibration = Calibration.fit([0, 0, 1, 1], [1.0, 2.0, 4.0, 5.0])
    assert calibration == Calibration(
        threshold=3.0, minimum=1.0, maximum=5.0, normal_threshold=np.nextafter(2.0, 3)
    )
    assert calibration.normalise([1, 5, 3]).tolist() == [0, 1, 0.5]
    assert calibration.normalise([-3, 9]).tolist() == [-1, 2], "not clipped"
    assert calibration.decide([2.9, 3.0, 3.1]).tolist() == [0, 1, 1], "the threshold itself is abnormal"


@pytest.mark.parametrize("seed", range(5))
def test_metrics_match_scikit_learn(seed: int) -> None:
    labels, scores = labelled_scores(seed)
    calibration = Calibration.fit(*labelled_scores(seed + 100))
    got = classification_metrics(labels, scores, calibration)
    decisions = scores >= calibration.threshold
    # scikit-learn sums trapezoids of rounded rates, ours is rounded once.
    assert got["auc"] == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores), abs=1e-12)
    assert got["accuracy"] == sklearn_metrics.accuracy_score(labels, decisions)
    assert got["f1"] == sklearn_metrics.f1_score(labels, decisions)
    assert got["sensitivity"] == sklearn_metrics.recall_score(labels, decisions)
    assert got["specificity"] == sklearn_metrics.recall_score(1 - labels, ~decisions)
    assert (got["normal"], got["abnormal"]) == (30, 30)


def test_bootstrap_interval_matches_a_plain_loop() -> None:
    labels, scores = labelled_scores(size=120)
    low, high = auc_interval(labels, scores, samples=500, seed=1)
    rng, areas = np.random.default_rng(7), []
    abnormal, normal = scores[labels == 1], scores[labels == 0]
    for _ in range(500):
        chosen = np.concatenate([rng.choice(abnormal, 60), rng.choice(normal, 60)])
        areas.append(sklearn_metrics.roc_auc_score(np.arange(120) < 60, chosen))
    assert low < sklearn_metrics.roc_auc_score(labels, scores) < high
    # The ends are quantiles of 500 draws with a standard deviation of 0.05: their own error is about 0.007.
    assert (low, high) == pytest.approx(tuple(np.quantile(areas, [0.025, 0.975])), abs=0.025)
    assert (low, high) == auc_interval(labels, scores, samples=500, seed=1), (
        "the same seed, the same interval"
    )


class TestExceptions:
    def test_one_class(self) -> None:
        with pytest.raises(ValueError, match="needs images of both classes, got no abnormal ones among 3"):
            Calibration.fit([0, 0, 0], [1.0, 2.0, 3.0])
        with pytest.raises(ValueError, match="needs images of both classes, got no normal ones among 2"):
            best_f1_threshold([1, 1], [1.0, 2.0])

    def test_equal_scores(self) -> None:
        with pytest.raises(
            ValueError, match=r"validation scores must differ from one another, all 2 are 1\.0"
        ):
            Calibration.fit([0, 1], [1.0, 1.0])

    def test_not_finite(self) -> None:
        with pytest.raises(ValueError, match="scores must be finite"):
            Calibration.fit([0, 1], [1.0, float("nan")])

    def test_other_labels_and_lengths(self) -> None:
        with pytest.raises(ValueError, match=r"labels must be 0 \(normal\) or 1 \(abnormal\)"):
            best_f1_threshold([0, 2], [1.0, 2.0])
        with pytest.raises(ValueError, match=r"must have one shape \(N,\), got \(1,\) and"):
            best_f1_threshold([0], [1.0, 2.0])

    def test_bootstrap_needs_two_of_each(self) -> None:
        with pytest.raises(
            ValueError, match="at least two images of each class, got 1 normal and 2 abnormal"
        ):
            auc_interval([0, 1, 1], [1.0, 2.0, 3.0])

    def test_detector_image_size(self, detector: Detector) -> None:
        with pytest.raises(
            ValueError, match=r"images must have shape \(B, 1, 32, 32\), got \(2, 1, 16, 16\)"
        ):
            detector.score(torch.zeros(2, 1, 16, 16, dtype=torch.uint8))

    def test_detector_without_calibration(self, detector: Detector, tmp_path) -> None:
        bare = Detector(detector.learner)
        with pytest.raises(ValueError, match="can be saved only with a calibration"):
            bare.save(tmp_path / "model.safetensors")

    def test_detector_files(self, tmp_path) -> None:
        with pytest.raises(ValueError, match="there is no trained model here"):
            Detector.load(tmp_path / "model.safetensors")
        (tmp_path / "model.safetensors").write_bytes(b"\x01" * 100)
        with pytest.raises(ValueError, match="the model file is damaged"):
            Detector.load(tmp_path / "model.safetensors")


def random_images(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, 4, 4, generator=generator)
    return (torch.nn.functional.interpolate(coarse, size=32, mode="bilinear") * 255).to(torch.uint8)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(fitted(random_images(20, 1)), Calibration(470.6, 470.5, 470.9))


def rows_of(detector: Detector, images: torch.Tensor) -> torch.Tensor:
    return embed(detector.learner.network, images, torch.device("cpu"))


def test_score_is_the_negative_log_density_of_scikit_learn(detector: Detector) -> None:
    from sklearn.neighbors import KernelDensity

    images = random_images(7, 2)
    rows = rows_of(detector, images)
    # Float32 rounding of 512 squared numbers that sum to 1.
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(7), rtol=0, atol=1e-6)
    expected = (
        -KernelDensity(bandwidth=1.0)
        .fit(rows_of(detector, random_images(20, 1)).numpy())
        .score_samples(rows.numpy())
    )
    # Products are taken in float32: 1e-6 is what the density itself promises.
    np.testing.assert_allclose(detector.score(images), expected, rtol=0, atol=1e-6)
    assert detector.score(images[:0]).shape == (0,)


def test_detector_file_round_trip(detector: Detector, tmp_path) -> None:
    path = tmp_path / "model.safetensors"
    detector.save(path, {"seed": 3})
    loaded = Detector.load(path)
    assert loaded.learner.recipe == detector.learner.recipe
    assert loaded.calibration == detector.calibration
    images = random_images(5, 3)
    assert loaded.score(images).tolist() == detector.score(images).tolist()
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"], (
        "no temporary file stays behind"
    )


@pytest.mark.parametrize(
    ("options", "peer"),
    [
        ({"scorer": "mahalanobis"}, Mahalanobis()),
        ({"scorer": "knn", "neighbours": 3}, NearestNeighbours(3)),
        ({"scorer": "knn", "neighbour_distance": "kth"}, NearestNeighbours(5, neighbour_distance="kth")),
    ],
)
def test_other_scorers_survive_the_file(detector: Detector, tmp_path, options: dict, peer: Any) -> None:
    other = Detector(fitted(random_images(20, 1), **options), detector.calibration)
    images = random_images(7, 2)
    rows = rows_of(detector, images)
    expected = (-peer.fit(rows_of(detector, random_images(20, 1))).score_samples(rows)).tolist()
    assert other.score(images).tolist() == expected
    assert expected != detector.score(images).tolist()
    other.save(tmp_path / "model.safetensors")
    assert Detector.load(tmp_path / "model.safetensors").score(images).tolist() == expected


@pytest.mark.parametrize("file_format", ["anatpaste-detector-1", "anatpaste-detector-2"])
def test_files_of_earlier_formats_score_alike(detector: Detector, tmp_path, file_format: str) -> None:
    path, images = tmp_path / "model.safetensors", random_images(3, 5)
    rows = rows_of(detector, random_images(20, 1))
    ends = {"threshold": 470.6, "minimum": 470.5, "maximum": 470.9}
    said = {"backbone": "resnet18", "image_size": 32}
    network = detector.learner.network
    write_released(path, network, rows, ends, file_format=file_format, **said)
    loaded = Detector.load(path)
    assert loaded.calibration == detector.calibration
    assert loaded.score(images).tolist() == detector.score(images).tolist()
    queries = rows_of(detector, images).numpy()
    density = neighbors.KernelDensity(bandwidth=1.0).fit(rows.numpy())
    # Products are taken in float32: 1e-6 is what the density itself promises.
    np.testing.assert_allclose(loaded.score(images), -density.score_samples(queries), rtol=0, atol=1e-6)
    if file_format == "anatpaste-detector-2":
        knn = {"scorer": "knn", "neighbours": 3, "head_widths": (512, 128, 2)}
        write_released(path, network, rows, ends, file_format=file_format, **said, **knn)
        distances, _ = neighbors.NearestNeighbors(n_neighbors=3).fit(rows.numpy()).kneighbors(queries)
        # scikit-learn's own distances of float32 points.
        np.testing.assert_allclose(Detector.load(path).score(images), distances.mean(1), rtol=1e-4, atol=1e-5)
    write_released(path, network, rows, ends, file_format="anatpaste-detector-9", **said)
    with pytest.raises(ValueError, match=r"expected a model file of format .*, got anatpaste-detector-9"):
        Detector.load(path)


def test_findings_of_the_images_reach_the_scored_split(detector: Detector) -> None:
    findings = [(), ("Edema",)]
    images = ImageSet(random_images(2, 4), torch.arange(2), ["a.png", "b.png"], findings)
    assert score_split(detector, "test", images).findings == findings


def test_scores_csv_holds_every_digit(detector: Detector, tmp_path) -> None:
    images = ImageSet(random_images(6, 4), torch.arange(6) % 2, [f"a, {n}.png" for n in range(6)])
    split = score_split(detector, "test", images)
    save_scores(tmp_path / "scores.csv", [split], detector.calibration)
    import csv

    with open(tmp_path / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == images.names
    assert [float(row["score"]) for row in rows] == split.scores.tolist()
    assert [float(row["normalised_score"]) for row in rows] == detector.calibration.normalise(
        split.scores
    ).tolist()
    assert [int(row["decision"]) for row in rows] == (split.scores >= 470.6).astype(int).tolist()
    assert {row["split"] for row in rows} == {"test"}


def test_evaluate_nests_its_keys() -> None:
    labels, scores = labelled_scores()
    split = ScoredSplit("test", [str(n) for n in range(len(labels))], labels, scores)
    calibration = Calibration.fit(labels, scores)
    content = evaluate(split, split, calibration, bootstrap_samples=200, seed=0)
    assert content["validation"]["auc"] == content["test"]["auc"]
    low, high = content["test"]["auc_interval"]
    assert low < content["test"]["auc"] < high
    assert content["threshold"] == calibration.threshold
    assert content["normaliser"] == {"minimum": scores.min(), "maximum": scores.max()}
    assert 0 <= content["threshold_normalised"] <= 1


def picture(path) -> np.ndarray:
    """A PNG read back; refuses one with fewer than 20 grey levels."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("L"))
    assert min(pixels.shape) >= 300
    assert len(np.unique(pixels)) >= 20
    return pixels


def test_roc_and_histogram_pictures(tmp_path) -> None:
    labels, scores = labelled_scores(size=200)
    calibration = Calibration.fit(labels, scores)
    save_roc(tmp_path / "roc.png", labels, scores, calibration, (0.6, 0.8), "a title")
    save_histogram(tmp_path / "histogram.png", labels, scores, calibration, "a title")
    save_roc(tmp_path / "other.png", labels, -scores, calibration, (0.2, 0.4), "a title")
    assert (picture(tmp_path / "roc.png") != picture(tmp_path / "other.png")).any(), (
        "the curve is in the picture"
    )
    picture(tmp_path / "histogram.png")


@pytest.mark.parametrize("kind", ["some lung", "none", "all lung"])
def test_gallery_picture(tmp_path, recwarn, kind: str) -> None:
    images = random_images(2, 5)
    lungs = torch.full(images.shape, kind == "all lung")
    if kind == "some lung":
        lungs[:, :, 4:20, 4:12] = True
    save_gallery(tmp_path / "gallery.png", images, lungs, torch.rand(images.shape), 255 - images)
    picture(tmp_path / "gallery.png")
    assert not [warning for warning in recwarn if "contour" in str(warning.message).lower()]
