"""The paper's tables: planned, read from run folders made by hand, and made from nothing at a tiny size."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from anatpaste_gpu.cli.outcome import DONE, FAILED, PARTLY_DONE, WRONG_USAGE
from anatpaste_gpu.cli.reproduce import _own_configs
from anatpaste_gpu.data import DatasetSplits, SplitManifest
from anatpaste_gpu.data.phantoms import render_phantom
from anatpaste_gpu.evaluation.delong import delong_test
from anatpaste_gpu.methods import get_method, lookup, method_names, register
from anatpaste_gpu.methods.weights import PRETRAINED
from anatpaste_gpu.reproduce import PUBLISHED, TABLES, Key, carry_out, plan_runs, read_records, sheets, work
from anatpaste_gpu.reproduce.results import compare_with_full
from anatpaste_gpu.runs.config import preset_config
from anatpaste_gpu.runs.ensemble import mean_scores
from anatpaste_gpu.runs.records import Run, load_runs
from anatpaste_gpu.scorers.calibration import Calibration
from anatpaste_gpu.training import TrainConfig

from .reproduce_runs import BASE, INTERVALS, planned, runs_of_two_sets, write_run
from .test_cli import exit_code


@pytest.fixture
def two_sets(tmp_path: Path) -> list[Run]:
    return runs_of_two_sets(tmp_path)


class TestPlan:
    def test_runs_of_one_data_set_and_seed_follow_each_other(self, tmp_path: Path) -> None:
        configs = planned(tmp_path, ("zhanglab", "rsna"), ("untrained", "anatpaste"), (0, 1))
        assert [(c.recipe.dataset, c.recipe.seed, c.recipe.method) for c in configs] == [
            (d, s, m) for d in ("zhanglab", "rsna") for s in (0, 1) for m in ("untrained", "anatpaste")
        ]
        assert len({c.run_dir for c in configs}) == 8
        assert configs[-1].place.data_root == "/secret/place"

    def test_all_seeds_share_the_first_ones_split(self, tmp_path: Path) -> None:
        three, one = (planned(tmp_path, ("rsna",), ("anatpaste",), seeds) for seeds in ((4, 5, 6), (4,)))
        assert [config.recipe.drawn_from for config in three] == [4, 4, 4]
        assert three[0] == one[0], "a table of one seed can be given more seeds later"

    def test_every_method_is_in_the_first_table(self, tmp_path: Path) -> None:
        assert set(TABLES[1].methods) == set(method_names())
        configs, left_out = plan_runs(BASE, tmp_path, ("demo",), TABLES[1].methods, (0,), roots={})
        needing = ["imagenet", "memory"]
        assert left_out == [f"method {name}: it needs --weights FILE." for name in needing]
        weights = str(tmp_path / "resnet18.safetensors")
        more, none = plan_runs(BASE, tmp_path, ("demo",), TABLES[1].methods, (0,), roots={}, weights=weights)
        assert none == []
        assert {c.recipe.method for c in more} - {c.recipe.method for c in configs} == set(needing)
        assert [c.recipe.network.weights for c in more if c.recipe.network.weights] == [weights] * 2, (
            "no other method gets them"
        )

    def test_a_method_has_its_own_budget(self, tmp_path: Path) -> None:
        own = {"untrained": BASE.replace(image_size=16, batch_size=2)}
        configs, _ = plan_runs(
            BASE, tmp_path, ("rsna",), ("untrained", "anatpaste"), (3,), roots={"rsna": "/there"}, own=own
        )
        assert [(c.recipe.image_size, c.recipe.schedule.batch_size) for c in configs] == [(16, 2), (32, 4)]
        assert {(c.recipe.seed, c.place.data_root) for c in configs} == {(3, "/there")}

    def test_the_command_takes_what_a_method_takes_in_place_of_a_preset(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lookup, "_METHODS", dict(lookup._METHODS))
        rival = dataclasses.replace(
            get_method("anatpaste"),
            name="rival",
            defaults={"image_size": 48},
            presets={"smoke": {"epochs": 5}},
        )
        register(rival)
        words = ["--preset", "smoke", "--gpu=-1", "--batch_size=3"]
        configs = _own_configs(["anatpaste", "rival", "memory"], "smoke", words, "resnet18.safetensors")
        assert list(configs) == ["rival"], "the file decides memory's backbone; anatpaste is the preset's"
        recipe = configs["rival"].recipe
        assert (recipe.image_size, recipe.schedule.epochs, recipe.schedule.batch_size) == (48, 5, 3)
        words = ["--preset", "cpu", "--image-size", "40"]
        other = _own_configs(["rival"], "cpu", words, None)["rival"].recipe
        assert (other.image_size, other.schedule.epochs) == (40, 40)
        assert preset_config("smoke", "rival").recipe.schedule.epochs == 5

    def test_methods_that_bring_weights_keep_them(self, tmp_path: Path) -> None:
        methods = ("memory", "fused", "imagenet", "anatpaste")
        own = _own_configs(methods, "smoke", ["--preset", "smoke", "--gpu=-1"], None)
        assert list(own) == ["memory", "fused"]
        configs, left_out = plan_runs(BASE, tmp_path, ("demo",), methods, (0,), roots={}, own=own)
        assert left_out == ["method imagenet: it needs --weights FILE."]
        assert {c.recipe.method: c.recipe.network.weights for c in configs} == {
            "memory": PRETRAINED,
            "fused": PRETRAINED,
            "anatpaste": None,
        }

    def test_tables_share_run_folders(self, tmp_path: Path) -> None:
        folders = [
            {c.run_dir for c in planned(tmp_path, TABLES[n].datasets, TABLES[n].methods, (0,))}
            for n in (1, 3)
        ]
        assert folders[0] & folders[1]


class TestRecords:
    def test_one_seed_has_the_runs_own_figures(self, two_sets: list[Run]) -> None:
        records = read_records(two_sets)
        for run in two_sets:
            own = [
                r
                for r in records
                if (r.dataset, r.method) == (run.metrics["dataset"], run.config.recipe.method)
            ]
            by_metric = {r.metric: r for r in own if not r.finding}
            assert by_metric["auc"].value == pytest.approx(roc_auc_score(run.labels, run.scores), abs=1e-12)
            assert by_metric["auc"].interval == tuple(INTERVALS["auc"])
            assert by_metric["auc"].deviation is None
            assert (by_metric["auc"].normal, by_metric["auc"].abnormal) == (30, 20)
            assert "average_precision" not in by_metric, "what a run did not record is not made up"
        assert {r.finding for r in records if r.dataset == "rsna"} == {"", "nodule"}
        assert {r.finding for r in records if r.dataset == "zhanglab"} == {""}

    def test_seeds_give_mean_deviation_and_ensemble(self, tmp_path: Path) -> None:
        configs = planned(tmp_path, ("zhanglab",), ("anatpaste",), (0, 1, 2))
        runs = load_runs([write_run(c, shift=1.0) for c in configs])
        by_metric = {r.metric: r for r in read_records(runs)}
        areas = [run.metrics["test"]["auc"] for run in runs]
        assert by_metric["auc"].value == pytest.approx(np.mean(areas))
        assert by_metric["auc"].deviation == pytest.approx(np.std(areas, ddof=1))
        assert by_metric["auc"].interval is None
        assert by_metric["auc"].seeds == (0, 1, 2)
        # One normaliser for all three, so the mean of raw scores ranks alike.
        mean = np.mean([run.scores for run in runs], axis=0)
        ensemble = by_metric["ensemble_auc"]
        assert ensemble.value == pytest.approx(roc_auc_score(runs[0].labels, mean), abs=1e-12)
        assert ensemble.interval is not None
        assert ensemble.interval[0] < ensemble.value < ensemble.interval[1]
        assert ensemble.published == PUBLISHED[Key("zhanglab", "anatpaste", "ensemble_auc")]
        assert "ensemble_f1" not in by_metric, "a threshold needs validation scores, which these runs lack"

    def test_the_ensembles_threshold_is_its_validation_sets(self, tmp_path: Path) -> None:
        configs = planned(tmp_path, ("rsna",), ("anatpaste",), (0, 1))
        for config in configs:
            folder = write_run(config, shift=1.0)
            with (folder / "scores.csv").open("a") as file:
                file.writelines(
                    f"v{i},{i % 2},validation,{float(i % 2 + i / 100)!r},0,0\n" for i in range(20)
                )
        runs = load_runs([config.run_dir for config in configs])
        by_metric = {r.metric: r for r in read_records(runs) if not r.finding}
        validation, test = mean_scores(runs, "validation"), mean_scores(runs, "test")
        threshold = Calibration.fit(validation.labels, validation.scores).threshold
        called = (test.scores >= threshold).astype(int)
        assert by_metric["ensemble_f1"].value == pytest.approx(f1_score(test.labels, called), abs=1e-12)
        assert by_metric["ensemble_accuracy"].value == pytest.approx(
            accuracy_score(test.labels, called), abs=1e-12
        )

    def test_seeds_with_other_test_images_have_no_ensemble(self, tmp_path: Path) -> None:
        configs = planned(tmp_path, ("rsna",), ("anatpaste", "anatpaste-no-blur"), (0, 1))
        runs = load_runs([write_run(c, shift=1.0, names=f"seed{c.recipe.seed}-") for c in configs])
        assert "ensemble_auc" not in {r.metric for r in read_records(runs)}
        assert compare_with_full(runs) == {}
        (sheet,) = sheets.ablations(read_records(runs), {}, {})
        assert sheet.rows[1][-1] == "not comparable"

    def test_ablations_are_compared_by_delong(self, two_sets: list[Run]) -> None:
        found = compare_with_full(two_sets)
        assert set(found) == {
            (d, m) for d in ("zhanglab", "rsna") for m in ("untrained", "anatpaste-no-blur")
        }
        _, full, ablated = two_sets[:3]
        expected = delong_test(full.labels, full.scores, ablated.scores)
        result = found["zhanglab", "anatpaste-no-blur"]
        # Scores are normalised first, which keeps their order but for rounding.
        assert result.p == pytest.approx(expected.p, rel=1e-9)
        assert result.difference == pytest.approx(expected.auc_a - expected.auc_b, abs=1e-12)


class TestFinishedRuns:
    def test_nothing_is_done_twice(self, tmp_path: Path) -> None:
        configs = planned(tmp_path, ("zhanglab",), ("untrained", "anatpaste"), (0,))
        folders = [write_run(c, shift=1.0) for c in configs]
        # The data set is not even looked for.
        outcome = carry_out(configs, Console(quiet=True))
        assert (outcome.finished, outcome.missing, outcome.failed) == (folders, {}, [])

    def test_a_run_of_another_recipe_is_refused_before_anything_starts(self, tmp_path: Path) -> None:
        configs = planned(tmp_path, ("demo",), ("untrained", "anatpaste"), (0,))
        write_run(configs[1].replace(epochs=9), shift=1.0)
        with pytest.raises(ValueError, match=r"holds a finished run with epochs 9, not 2; choose another -o"):
            carry_out(configs, Console(quiet=True))
        assert not configs[0].run_dir.exists()

    def test_runs_of_one_image_size_follow_each_other(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        configs = planned(tmp_path, ("demo",), ("untrained", "anatpaste", "anatpaste-no-blur"), (0,))
        configs[1] = configs[1].replace(image_size=16)
        loaded: list[int] = []
        made: list[str] = []
        original = work.load_images

        def load(config: TrainConfig, manifest: SplitManifest) -> DatasetSplits:
            loaded.append(config.recipe.image_size)
            return original(config, manifest)

        def train(config: TrainConfig, *, splits: DatasetSplits, **rest: object) -> None:
            assert splits.train.images.shape[-1] == config.recipe.image_size
            made.append(config.recipe.method)

        monkeypatch.setattr(work, "load_images", load)
        monkeypatch.setattr(work, "train", train)
        carry_out(configs, Console(quiet=True))
        assert loaded == [32, 16]
        assert made == ["untrained", "anatpaste-no-blur", "anatpaste"]

    def test_missing_data_are_named_with_their_source(self, tmp_path: Path) -> None:
        configs = planned(tmp_path, ("zhanglab",), ("untrained",), (0, 1))
        outcome = carry_out(configs, Console(quiet=True))
        assert list(outcome.missing) == ["zhanglab"]
        assert "mendeley" in outcome.missing["zhanglab"]
        assert outcome.finished == []


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 16 normal phantoms and 8 with a nodule."""
    root = tmp_path_factory.mktemp("pictures")
    for number in range(24):
        kind = "nodule" if number >= 16 else "normal"
        (root / kind).mkdir(exist_ok=True)
        finding = {"finding": "nodule"} if number >= 16 else {}
        image = render_phantom(number, image_size=32, seed=0, **finding).image
        Image.fromarray(image).save(root / kind / f"{number:03d}.png")
    return root


_SMALL = {"image-size": 32, "epochs": 1, "steps-per-epoch": 2, "batch-size": 4, "bootstrap-samples": 100}
TINY = ("--gpu", "-1", "--threads", "1", "--", *(f"--{name}={value}" for name, value in _SMALL.items()))


@pytest.mark.slow
def test_from_nothing_to_a_page(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    words = (
        "reproduce",
        "--table",
        3,
        "--preset",
        "smoke",
        "-o",
        output,
        "--data-root",
        f"folder={pictures}",
    )
    assert exit_code(*words, "--dataset", "folder", "rsna", *TINY) == PARTLY_DONE
    said = capsys.readouterr()
    assert "rsna-pneumonia-detection-challenge" in said.err, "where the missing data set comes from"
    assert "AnatPaste without blur" in said.out
    assert sorted(path.name for path in output.iterdir()) == [
        "runs", "table3.csv", "table3.html", "table3.json", "table3.md"
    ]  # fmt: skip
    runs = sorted((output / "runs").iterdir())
    assert {run.name for run in runs} == {f"folder-{name}-seed0" for name in TABLES[3].methods}
    page = (output / "table3.html").read_text(encoding="utf-8")
    assert "Table III of the paper" in page
    assert "data:image/webp" in page
    for suffix in ("md", "csv", "json"):
        assert str(tmp_path) not in (output / f"table3.{suffix}").read_text(encoding="utf-8")
    # The same command again trains nothing, and one that lacks a run makes that run alone.
    before = {run: (run / "metrics.json").stat().st_mtime_ns for run in runs[1:]}
    (runs[0] / "metrics.json").unlink()
    assert exit_code(*words, "--dataset", "folder", "--no-images", *TINY) == DONE
    assert "run 1 of 1: folder-anatpaste-" in capsys.readouterr().err
    assert {run: (run / "metrics.json").stat().st_mtime_ns for run in runs[1:]} == before


class TestCommandLine:
    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (("--table", 4), "invalid choice: 4"),
            (("--table", 1, "--data-root", "zhanglab"), "--data-root takes NAME=DIR"),
            (("--table", 1, "--data-root", "mimic=x"), "with NAME one of demo, zhanglab"),
            (("--table", 1, "--preset", "huge"), "invalid choice: 'huge'"),
            (("--table", 1, "--", "--no-such-option", "1"), "no_such_option"),
        ],
    )
    def test_wrong_use(
        self, words: tuple[str | int, ...], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert exit_code("reproduce", "-o", tmp_path / "out", *map(str, words)) == WRONG_USAGE
        assert sentence in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    def test_no_data_at_all(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert exit_code("reproduce", "--table", 2, "--gpu", "-1", "-o", tmp_path / "out") == FAILED
        error = capsys.readouterr().err
        assert "stanfordmlgroup" in error
        assert "no run could be made, so there is no table" in error
        assert not (tmp_path / "out").exists()
