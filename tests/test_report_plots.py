"""Reading finished runs back, Grad-CAM, and the figures of the paper."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anatpaste_gpu.data import read_entries
from anatpaste_gpu.methods import Detector
from anatpaste_gpu.methods.pretext import PretextLearner
from anatpaste_gpu.methods.pretext.heat_map import _Explained, as_map, grad_cam
from anatpaste_gpu.report.augmentation_plot import augmentation_plot, changed_box
from anatpaste_gpu.report.case_plot import ScoredPicture, case_plot, choose_cases
from anatpaste_gpu.report.curve_plots import embedding_plot, roc_plot, training_plot
from anatpaste_gpu.report.pictures import to_bytes
from anatpaste_gpu.report.score_plots import save_plot
from anatpaste_gpu.runs.records import compare, load_runs

from .detectors import fitted
from .test_evaluation import picture, random_images

HEADER = "name,label,split,score,normalised_score,decision\n"


def test_a_run_is_read_back(finished_runs: list[Path]) -> None:
    first, second = load_runs([*finished_runs, finished_runs[0]])
    metrics = json.loads((finished_runs[0] / "metrics.json").read_text())
    assert (first.title, second.title) == ("anatpaste, demo, seed 0", "anatpaste, demo, seed 1")
    assert first.calibration.threshold == metrics["threshold"]
    assert first.calibration.normal_threshold == metrics["normal_threshold"]["threshold"]
    counts = metrics["counts"]["test"]
    assert [int((first.labels == kind).sum()) for kind in (0, 1)] == [counts["normal"], counts["abnormal"]]
    result = compare(first, second)
    assert (result.auc_a, result.auc_b) == (first.metrics["test"]["auc"], second.metrics["test"]["auc"])


def test_runs_of_one_name_are_told_apart(finished_runs: list[Path], tmp_path: Path) -> None:
    copy = shutil.copytree(finished_runs[0], tmp_path / "copy")
    assert load_runs([finished_runs[0], copy])[1].title == "anatpaste, demo, seed 0 (copy)"


class TestRunExceptions:
    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="there is no such run folder"):
            load_runs([tmp_path / "nothing"])

    def test_unfinished(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"no metrics\.json here; a run writes it when it is finished"):
            load_runs([tmp_path])

    @pytest.mark.parametrize(
        ("file", "content", "reason"),
        [
            ("metrics.json", "{", "not a readable run"),
            ("metrics.json", "{}", "'dataset' is missing"),
            ("metrics.json", "[]", "not a readable run"),
            ("config.yaml", "a: [", "not a readable run"),
            ("config.yaml", "!!python/object/apply:os.getcwd []", "could not determine a constructor"),
            ("scores.csv", "name,score\n", r"scores\.csv must have the columns"),
            ("scores.csv", HEADER + "a,0,test,nan,0,0\n", "not finite"),
            ("scores.csv", HEADER + "a,0,test,1,0,0\n", "has no abnormal images, and metrics.json an AUC"),
        ],
    )
    def test_damaged(
        self,
        finished_runs: list[Path],
        tmp_path: Path,
        file: str,
        content: str,
        reason: str,
    ) -> None:
        folder = shutil.copytree(finished_runs[0], tmp_path / "run")
        (folder / file).write_text(content)
        with pytest.raises(ValueError, match=reason):
            load_runs([folder])

    def test_other_images(self, finished_runs: list[Path], tmp_path: Path) -> None:
        folder = shutil.copytree(finished_runs[1], tmp_path / "run")
        rows = (folder / "scores.csv").read_text().splitlines(keepends=True)
        (folder / "scores.csv").write_text("".join(rows[:-1]))
        with pytest.raises(ValueError, match="were tested on different images"):
            compare(*load_runs([finished_runs[0], folder]))


def normals() -> torch.Tensor:
    return random_images(20, 1).repeat(1, 1, 3, 3)


@pytest.fixture(scope="module")
def learner() -> PretextLearner:
    return fitted(normals())


@pytest.mark.parametrize("target", ["score", "logit"])
def test_heatmap_is_grad_cam_by_its_definition(learner: PretextLearner, target: str) -> None:
    """ReLU of the maps weighted by the mean gradient (Selvaraju et al., equations 1 and 2)."""
    images = random_images(3, 2).repeat(1, 1, 3, 3)
    network, kept = learner.network, []
    handle = network.backbone.layer4.register_forward_hook(
        lambda _module, _input, output: kept.append(output)
    )
    rows = network.embed(images)
    handle.remove()
    if target == "logit":
        value = network.head(rows)[:, 1]
    else:
        rows = torch.nn.functional.normalize(rows)
        distances = (rows[:, None] - learner.embed(normals()).clone()[None]).square().sum(2)
        value = -torch.logsumexp(-distances / 2, 1)
    (gradient,) = torch.autograd.grad(value.sum(), kept)
    expected = (gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1).clamp(min=0).detach()
    expected -= expected.amin((1, 2), keepdim=True)
    expected = expected / expected.amax((1, 2), keepdim=True).clamp(min=1e-30) * 255
    got = to_bytes(grad_cam(learner, images, target=target))
    assert got.dtype == np.uint8
    assert got.shape == (3, 3, 3), "96 pixels over a stride of 32"
    # Whole numbers on one side; the package's 1e-7 in the denominator is far below one of 255 steps.
    np.testing.assert_allclose(got, expected.numpy(), rtol=0, atol=1.5)


@pytest.mark.parametrize(
    "options",
    [
        {"bandwidth": 0.5},
        {"scorer": "mahalanobis"},
        {"scorer": "knn", "neighbours": 3},
        {"scorer": "knn", "neighbours": 3, "neighbour_distance": "kth"},
    ],
)
def test_what_a_heat_map_explains_is_the_score(learner: PretextLearner, options: dict) -> None:
    """Scores and explained numbers differ by one constant factor, whatever the scorer."""
    other = fitted(normals(), **options)
    images = random_images(4, 2).repeat(1, 1, 3, 3)
    with torch.no_grad():
        explained = _Explained(other, "score")(images)[:, 0].double()
    # One product and one quotient.
    np.testing.assert_allclose(explained / 1e4, Detector(other).score(images), rtol=1e-14)
    assert not torch.equal(grad_cam(other, images), grad_cam(learner, images))


@pytest.mark.parametrize(
    ("name", "side", "shape"),
    [
        ("vit_b_16", 64, (4, 4)),
        ("swin_t", 64, (2, 2)),
        ("squeezenet1_1", 64, (3, 3)),
        ("convnext_tiny", 64, (2, 2)),
        ("timm/test_vit", 64, (4, 4)),
        ("timm/test_convnext", 64, (2, 2)),
        ("timm/swin_tiny_patch4_window7_224", 64, (2, 2)),
        ("timm/vit_tiny_patch16_224", 64, (4, 4)),
    ],
)
def test_heatmap_of_other_backbones_and_three_classes(name: str, side: int, shape: tuple[int, int]) -> None:
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    torch.manual_seed(0)
    images = torch.randint(0, 256, (3, 1, side, side), dtype=torch.uint8)
    learner = fitted(images.flip(2), backbone=name, method="cutpaste-3way")
    for target in ("score", "logit"):
        maps = to_bytes(grad_cam(learner, images, target=target))
        assert maps.shape == (3, *shape)
        assert maps.max() == 255, "something in the picture matters"


def test_a_backbone_without_a_map_says_so() -> None:
    learner = fitted(random_images(4, 1))
    learner.network.backbone = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 512))
    with pytest.raises(ValueError, match=r"this backbone has none with images of 32 pixels; .*--no-heatmaps"):
        grad_cam(learner, random_images(1, 2))


def test_tokens_are_put_back_in_their_places() -> None:
    grid = torch.arange(2 * 5 * 9.0).view(2, 5, 3, 3)
    tokens = torch.cat([torch.full((2, 2, 5), -1.0), grid.flatten(2).transpose(1, 2)], 1)
    assert torch.equal(as_map(tokens), grid)
    assert torch.equal(as_map(grid), grid)
    assert torch.equal(as_map(grid.permute(0, 2, 3, 1)), grid)


def test_heatmap_takes_an_earlier_layer_where_the_last_one_has_no_map() -> None:
    small = fitted(random_images(20, 1))
    assert grad_cam(small, random_images(2, 3)).shape == (2, 1, 2, 2)


def test_heatmap_refuses_an_unknown_target(learner: PretextLearner) -> None:
    with pytest.raises(ValueError, match="target must be one of score, logit, got 'colour'"):
        grad_cam(learner, random_images(1, 0), target="colour")


def test_curves_of_two_runs(finished_runs: list[Path], tmp_path: Path) -> None:
    runs = load_runs(finished_runs)
    save_plot(roc_plot(runs), tmp_path / "both.png")
    save_plot(roc_plot(runs[:1]), tmp_path / "one.png")
    assert (picture(tmp_path / "both.png") != picture(tmp_path / "one.png")).any()
    save_plot(training_plot(runs), tmp_path / "training.png")
    picture(tmp_path / "training.png")


def test_embeddings_of_two_groups_lie_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    groups = rng.normal(scale=0.1, size=(2, 20, 8)) + np.eye(8)[:2, None] * 5
    figure = embedding_plot(groups.reshape(40, 8).astype(np.float32), np.repeat([0, 1], 20))
    normal, abnormal = (np.asarray(dots.get_offsets()) for dots in figure.axes[0].collections)
    spread = max(np.ptp(group, 0).max() for group in (normal, abnormal))
    assert np.linalg.norm(normal.mean(0) - abnormal.mean(0)) > spread
    save_plot(figure, tmp_path / "tsne.png")
    picture(tmp_path / "tsne.png")
    with pytest.raises(ValueError, match="at least three embeddings, got 2"):
        embedding_plot(np.zeros((2, 8), np.float32), [0, 1])


@given(top=st.integers(0, 39), left=st.integers(0, 29), height=st.integers(1, 40), width=st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_the_enlarged_place_covers_the_change(top: int, left: int, height: int, width: int) -> None:
    before = np.zeros((40, 30), np.uint8)
    after = before.copy()
    after[top : top + height, left : left + width] = 200
    x, y, side = changed_box(before, after)
    assert 0 <= x <= 30 - side
    assert 0 <= y <= 40 - side
    covered = np.zeros_like(before, bool)
    covered[y : y + side, x : x + side] = True
    if np.ptp(np.nonzero(after)[0]) < 30:
        assert covered[after > 0].all()
    assert changed_box(before, before) == (14, 19, 3), "nothing changed: the middle"


def test_augmentation_picture(tmp_path: Path) -> None:
    images = random_images(2, 5).repeat(1, 1, 2, 2)
    columns = {"original": images, "CutPaste": images.flip(3), "AnatPaste": 255 - images}
    figure = augmentation_plot(columns)
    assert [axes.get_title() for axes in figure.axes[:3]] == list(columns)
    save_plot(figure, tmp_path / "augmentation.png")
    picture(tmp_path / "augmentation.png")


def test_cases_are_marked_right_and_wrong(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    labels, decisions, scores = rng.integers(0, 2, 60), rng.integers(0, 2, 60), rng.normal(size=60)
    chosen = choose_cases(labels, decisions, scores, 3)
    assert len(chosen) == len(set(chosen)) == 12
    wrong = np.flatnonzero((labels == 1) & (decisions == 0))
    assert {wrong[scores[wrong].argmin()], wrong[scores[wrong].argmax()]} <= set(chosen), "both extremes"
    pictures = random_images(60, 1)[:, 0].numpy()
    cases = [ScoredPicture(pictures[i], int(labels[i]), int(decisions[i]), float(scores[i])) for i in chosen]
    figure = case_plot(cases, 3)
    for axes in figure.get_axes():
        marks = {"✓": 0, "✗": 1}
        assert len(axes.patches) == marks[axes.get_title()[0]], "a frame around a wrong one"
    save_plot(figure, tmp_path / "cases.png")
    picture(tmp_path / "cases.png")


def test_only_the_entries_asked_for_are_read(finished_runs: list[Path]) -> None:
    manifest = load_runs(finished_runs[:1])[0].manifest()
    entries = manifest.split("test")[:3]
    images = list(read_entries("demo", None, manifest, entries, image_size=32))
    assert [image.shape for image in images] == [(1, 32, 32)] * 3
    with pytest.raises(ValueError, match="is for data set 'demo', expected 'zhanglab'"):
        list(read_entries("zhanglab", ".", manifest, entries, image_size=32))
