"""The paper's tables: read from run folders made by hand, and made from nothing at a tiny size."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from sklearn.metrics import accuracy_score, roc_auc_score

from anatpaste_gpu.cli.outcome import DONE, FAILED, PARTLY_DONE, WRONG_USAGE
from anatpaste_gpu.data import SplitManifest
from anatpaste_gpu.data.phantoms import render_phantom
from anatpaste_gpu.evaluation.delong import delong_test
from anatpaste_gpu.methods import get_method, method_names
from anatpaste_gpu.report.render import render
from anatpaste_gpu.report.sheet import Sheet, Study
from anatpaste_gpu.reproduce import PUBLISHED, TABLES, carry_out, plan_runs, read_records, sheets
from anatpaste_gpu.reproduce.published import UNKNOWN
from anatpaste_gpu.reproduce.results import compare_with_full
from anatpaste_gpu.reproduce.study import build_study, to_csv, to_json
from anatpaste_gpu.runs.records import Run, load_runs
from anatpaste_gpu.training import TrainConfig

from .test_cli import exit_code

BASE = TrainConfig.of(image_size=32, epochs=2, steps_per_epoch=3, batch_size=4, gpu=-1)
INTERVALS = {"auc": [0.1, 0.9], "accuracy": [0.2, 0.8], "f1": [0.3, 0.7]}


def write_run(config: TrainConfig, *, shift: float, names: str = "image") -> Path:
    """A finished run folder by hand: 30 + 20 test images, abnormal ones `shift` higher."""
    generator = np.random.default_rng([config.recipe.seed, len(config.recipe.method)])
    labels = np.repeat([0, 1], [30, 20])
    scores = generator.normal(size=50) + shift * labels
    called = (scores >= 0.5).astype(int)
    area = float(roc_auc_score(labels, scores))
    counts = {"normal": 30, "abnormal": 20}
    test = {"auc": area, "accuracy": float(accuracy_score(labels, called)), "f1": 0.5, **counts}
    finding = {**test, "auc": area / 2, "abnormal": 7, "intervals": {"auc": [0.01, 0.99]}}
    metrics = {
        "dataset": config.recipe.dataset,
        "seed": config.recipe.seed,
        "test": {**test, "auc_interval": INTERVALS["auc"], "intervals": INTERVALS},
        "threshold": 0.5,
        "normaliser": {"minimum": -2.0, "maximum": 3.0},
        "findings": {"nodule": finding} if config.recipe.dataset == "rsna" else {},
        "training": {"steps": 6},
        "counts": {"train": {"normal": 40}},
        "device": {"type": "cpu", "name": "A processor", "cpu_threads": 1, "precision": "float32"},
    }
    folder = config.run_dir
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(config.to_yaml())
    rows = [
        f"{names}{i},{y},test,{s!r},0,0" for i, (y, s) in enumerate(zip(labels, scores.tolist(), strict=True))
    ]
    header = "name,label,split,score,normalised_score,decision"
    (folder / "scores.csv").write_text("\n".join([header, *rows]) + "\n")
    notes = [f"{config.recipe.dataset} is small here."]
    SplitManifest.build(config.recipe.dataset, config.recipe.seed, [], notes).save(
        folder / "split_manifest.json"
    )
    (folder / "timing.json").write_text('{"training_seconds": 90.0}')
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def planned(
    folder: Path, datasets: tuple[str, ...], methods: tuple[str, ...], seeds: tuple[int, ...]
) -> list[TrainConfig]:
    return plan_runs(BASE, folder, datasets, methods, seeds, roots={"rsna": "/secret/place"})[0]


@pytest.fixture
def two_sets(tmp_path: Path) -> list[Run]:
    """Three methods on two data sets, one seed."""
    methods = ("untrained", "anatpaste", "anatpaste-no-blur")
    configs = planned(tmp_path / "runs", ("zhanglab", "rsna"), methods, (0,))
    return load_runs([write_run(c, shift=len(c.recipe.method) / 10) for c in configs])


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

    def test_tables_share_run_folders(self, tmp_path: Path) -> None:
        folders = [
            {c.run_dir for c in planned(tmp_path, TABLES[n].datasets, TABLES[n].methods[:3], (0,))}
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

    def test_seeds_with_other_test_images_have_no_ensemble(self, tmp_path: Path) -> None:
        configs = planned(tmp_path, ("rsna",), ("anatpaste", "anatpaste-no-blur"), (0, 1))
        runs = load_runs([write_run(c, shift=1.0, names=f"seed{c.recipe.seed}-") for c in configs])
        assert "ensemble_auc" not in {r.metric for r in read_records(runs)}
        assert compare_with_full(runs) == {}
        (sheet,) = sheets.ablations(read_records(runs), {})
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


class TestSheets:
    def test_the_papers_figures_stand_beside_ours(self, two_sets: list[Run]) -> None:
        sheet = sheets.overview(read_records(two_sets))
        assert sheet.columns == ("Method", "zhanglab", "zhanglab, paper", "rsna", "rsna, paper")
        rows = {row[0]: row[1:] for row in sheet.rows}
        ours = two_sets[1].metrics["test"]["auc"]
        assert rows["AnatPaste"][:2] == (f"{ours:.3f}\n0.100 to 0.900", "0.921")
        assert rows["AnatPaste"][3] == "0.819"
        assert {cell for name, row in rows.items() if name != "AnatPaste" for cell in row[1::2]} == {UNKNOWN}

    def test_a_method_that_was_not_run_on_a_data_set_says_so(self, two_sets: list[Run]) -> None:
        sheet = sheets.overview(read_records(two_sets[:4]))
        assert sheet.rows[1][3] == "not run"

    def test_findings_have_methods_in_columns(self, two_sets: list[Run]) -> None:
        (sheet,) = sheets.by_finding(read_records(two_sets))
        names = ("untrained", "anatpaste", "anatpaste-no-blur")
        assert sheet.columns == ("Finding", *(get_method(name).title for name in names))
        half = two_sets[3].metrics["test"]["auc"] / 2
        assert sheet.rows[0][:2] == ("all abnormal\n20 images", f"{2 * half:.3f}\n0.100 to 0.900")
        assert sheet.rows[1][:2] == ("nodule\n7 images", f"{half:.3f}\n0.010 to 0.990")

    def test_every_published_figure_has_its_source(self) -> None:
        assert all("2205.04282" in own.source and 0.5 < own.value < 1 for own in PUBLISHED.values())

    def test_markdown_keeps_its_columns(self) -> None:
        sheet = Sheet("a title", ("Method", "AUC"), (("a|b", "0.5\n0.4 to 0.6"),))
        assert sheet.markdown().splitlines()[-1] == "| a\\|b | 0.5 (0.4 to 0.6) |"


class TestStudy:
    def test_budget_and_gaps_are_stated(self, two_sets: list[Run]) -> None:
        study = build_study(TABLES[1], two_sets, "smoke", ["chexpert is not there."])
        text = study.markdown()
        assert "Budget of a run, preset smoke: 32 x 32 pixels, 6 steps of 4 normal images" in text
        assert "A processor, 1 CPU thread(s), float32; 9 minutes of training steps in all 6 runs" in text
        assert "these figures are not the paper's experiment" in text
        assert "Left out: chexpert is not there." in text
        split = "Split of rsna: 40 normal images to train, 30 + 20 to test. rsna is small here."
        assert split in text
        assert "not for clinical use" in text
        assert "CC BY 4.0" in text

    def test_the_papers_budget_with_five_seeds_needs_no_excuse(self, tmp_path: Path) -> None:
        configs = plan_runs(TrainConfig.of(), tmp_path, ("zhanglab",), ("anatpaste",), range(5), roots={})[0]
        runs = load_runs([write_run(c, shift=1.0) for c in configs])
        assert "not the paper's experiment" not in build_study(TABLES[1], runs, "paper", []).markdown()

    @pytest.mark.parametrize(
        ("number", "heading"), [(1, "AUC by method"), (2, "AUC by finding"), (3, "ablations")]
    )
    def test_each_table_has_its_layout(self, two_sets: list[Run], number: int, heading: str) -> None:
        study = build_study(TABLES[number], two_sets, "smoke", [])
        assert heading in study.sheets[0].title

    def test_csv_and_json_hold_every_figure_and_no_path(self, two_sets: list[Run]) -> None:
        records = read_records(two_sets)
        rows = list(csv.DictReader(io.StringIO(to_csv(records))))
        assert [float(row["value"]) for row in rows] == [record.value for record in records]
        assert {row["paper"] for row in rows} == {"", "0.921", "0.819"}
        study = build_study(TABLES[1], two_sets, "smoke", [])
        text = to_json(study, records, two_sets)
        content = json.loads(text)
        assert [figure["value"] for figure in content["figures"]] == [record.value for record in records]
        assert [run["folder"] for run in content["runs"]] == [run.folder.name for run in two_sets]
        assert "/secret/place" not in text
        assert str(two_sets[0].folder.parent) not in text

    def test_the_page_escapes_what_it_shows(self) -> None:
        study = Study("<i>title", ("<i>note",), (Sheet("<i>sheet", ("<i>a", "b"), (("<i>x\n<i>y", "z"),)),))
        page = render([], study)
        assert "<i>" not in page
        assert page.count("&lt;i&gt;") >= 6


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
