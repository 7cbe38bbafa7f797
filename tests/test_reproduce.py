"""The paper's tables: read from run folders made by hand, and made from nothing at a tiny size."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
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
from anatpaste_gpu.report.render import render
from anatpaste_gpu.report.sheet import Sheet, Study
from anatpaste_gpu.reproduce import PUBLISHED, TABLES, Key, carry_out, plan_runs, read_records, sheets, work
from anatpaste_gpu.reproduce.published import NOT_GIVEN, NOT_RUN, QUOTED_ONLY, SYSTEMS
from anatpaste_gpu.reproduce.results import compare_with_full
from anatpaste_gpu.reproduce.study import build_study, to_csv, to_json
from anatpaste_gpu.runs.config import preset_config
from anatpaste_gpu.runs.ensemble import mean_scores
from anatpaste_gpu.runs.records import Run, load_runs
from anatpaste_gpu.scorers.calibration import Calibration
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
        configs = _own_configs(["anatpaste", "rival", "memory"], "smoke", words)
        assert list(configs) == ["rival"], "memory's file decides its backbone; anatpaste is the preset's"
        recipe = configs["rival"].recipe
        assert (recipe.image_size, recipe.schedule.epochs, recipe.schedule.batch_size) == (48, 5, 3)
        other = _own_configs(["rival"], "cpu", ["--preset", "cpu", "--image-size", "40"])["rival"].recipe
        assert (other.image_size, other.schedule.epochs) == (40, 40)
        assert preset_config("smoke", "rival").recipe.schedule.epochs == 5

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


class TestPublished:
    def test_every_figure_has_its_source(self) -> None:
        assert all("arXiv 2205.04282v1" in own.source for own in PUBLISHED.values())
        assert {key.metric for key in PUBLISHED if key.method == "salad"} == {"auc", "accuracy", "f1"}
        quoted = {key.method for key, own in PUBLISHED.items() if "own paper" in own.source}
        assert quoted == {"salad", "squid"}

    def test_the_tables_have_as_many_figures_as_the_paper_prints(self) -> None:
        """Table I: 6 rows of Zhanglab, 4 of each of the others, an ensemble each; II: 5; III: 2 more."""
        rows = (6 + 4 + 4 + 3) + 5 + 2
        assert len(PUBLISHED) == 3 * rows
        assert len(TABLES[1].published()) == 3 * (6 + 4 + 4 + 3)
        by_finding = [key for key in TABLES[2].published() if key.finding]
        assert len(by_finding) == 3 * 5
        assert {key.method for key in TABLES[3].published()} == set(TABLES[3].systems)

    def test_the_means_over_a_table_are_the_papers(self) -> None:
        """Sums of its columns, added up by hand from the print: a slip of one digit would show."""

        def total(**what: str) -> float:
            chosen = [o for k, o in PUBLISHED.items() if all(getattr(k, n) == v for n, v in what.items())]
            return round(100 * sum(own.value for own in chosen), 1)

        whole = {"finding": ""}
        assert total(dataset="zhanglab", metric="auc", **whole) == 476.0
        assert total(dataset="zhanglab", metric="accuracy", **whole) == 446.8
        assert total(dataset="zhanglab", metric="f1", **whole) == 487.9
        assert total(dataset="rsna", metric="auc", **whole) == 275.3
        assert total(dataset="rsna", metric="accuracy", **whole) == 226.9
        assert total(dataset="rsna", metric="f1", **whole) == 275.9
        # With the two ablations.
        assert total(dataset="chexpert", metric="auc", **whole) == 386.9
        assert total(dataset="chexpert", metric="accuracy", **whole) == 340.0
        assert total(dataset="chexpert", metric="f1", **whole) == 375.0
        deviations = [own.deviation for own in PUBLISHED.values() if own.deviation is not None]
        assert len(deviations) == len(PUBLISHED) - 9, "the ensembles have none"
        assert max(deviations) == 0.206

    def test_a_row_that_is_no_method_is_not_run(self) -> None:
        assert "salad" in TABLES[1].systems
        assert "salad" not in TABLES[1].methods
        assert TABLES[1].methods.index("cutpaste-scar") < TABLES[1].methods.index("anatpaste")

    def test_a_row_becomes_trainable_with_its_method(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lookup, "_METHODS", dict(lookup._METHODS))
        register(dataclasses.replace(get_method("anatpaste"), name="salad"))
        assert TABLES[1].methods.index("salad") == TABLES[1].methods.index("anatpaste") - (
            2 if "squid" in method_names() else 1
        )


class TestSheets:
    def test_the_papers_figures_stand_beside_ours(self, two_sets: list[Run]) -> None:
        sheet = sheets.overview(read_records(two_sets), TABLES[1].published())
        datasets = ("zhanglab", "chexpert", "rsna")
        columns = ["Method", *(f"{name}{suffix}" for name in datasets for suffix in ("", ", paper"))]
        assert sheet.columns == tuple(columns)
        rows = {row[0]: row[1:] for row in sheet.rows}
        ours = two_sets[1].metrics["test"]["auc"]
        assert rows["AnatPaste"][:2] == (f"{ours:.3f}\n0.100 to 0.900", "0.914 ± 0.013")
        assert rows["AnatPaste"][2:4] == (NOT_RUN, "0.760 ± 0.018")
        ensemble = rows["AnatPaste, ensemble of its seeds"]
        assert ensemble == (NOT_RUN, "0.921", NOT_RUN, "0.787", NOT_RUN, "0.819")
        assert rows["SALAD"] == (QUOTED_ONLY, "0.827 ± 0.008", *(QUOTED_ONLY, NOT_GIVEN) * 2)
        assert rows["CutPaste, scar"][:2] == (NOT_RUN, "0.768 ± 0.029")
        assert set(rows["Untrained network"][1::2]) == {NOT_GIVEN}

    def test_the_papers_rows_come_first_and_in_its_order(self, two_sets: list[Run]) -> None:
        for sheet in (
            sheets.overview(read_records(two_sets), TABLES[1].published()),
            sheets.details(read_records(two_sets), TABLES[1].published())[0],
        ):
            known = [get_method(n).title if n in method_names() else SYSTEMS[n] for n in SYSTEMS]
            titles = [row[0] for row in sheet.rows if "ensemble" not in row[0]]
            assert titles[: len(known)] == known
            assert set(titles[len(known) :]) == {"Untrained network", "AnatPaste without blur"}

    def test_every_figure_of_the_first_table_is_shown(self, two_sets: list[Run]) -> None:
        paper = TABLES[1].published()
        found = sheets.details(read_records(two_sets), paper)
        assert [sheet.title for sheet in found] == [
            "Zhanglab chest radiographs: 30 normal, 20 abnormal test images",
            "RSNA Pneumonia Detection Challenge: 30 normal, 20 abnormal test images",
            "CheXpert: the paper's figures",
        ]
        figures = [cell for sheet in found for row in sheet.rows for cell in row if NOT_GIVEN not in cell]
        for figure in paper.values():
            assert sheets.printed(figure) in figures

    def test_a_data_set_that_the_paper_has_not_gets_no_columns_of_it(self, tmp_path: Path) -> None:
        runs = load_runs(
            [write_run(c, shift=1.0) for c in planned(tmp_path, ("demo",), ("anatpaste",), (0,))]
        )
        sheet = sheets.overview(read_records(runs), TABLES[1].published())
        assert sheet.columns[-2:] == ("rsna, paper", "demo")
        last = sheets.details(read_records(runs), TABLES[1].published())[0]
        assert last.columns == ("Method", "AUC", "ACC", "F1")

    def test_a_method_that_was_not_run_on_a_data_set_says_so(self, two_sets: list[Run]) -> None:
        sheet = sheets.overview(read_records(two_sets[:4]), {})
        assert sheet.rows[1][2] == NOT_RUN

    def test_findings_have_methods_in_columns(self, two_sets: list[Run]) -> None:
        sheet, paper = sheets.by_finding(read_records(two_sets), TABLES[2].published())
        names = ("untrained", "anatpaste", "anatpaste-no-blur")
        assert sheet.columns == ("Finding", *(get_method(name).title for name in names))
        half = two_sets[3].metrics["test"]["auc"] / 2
        assert sheet.rows[0][:2] == ("all abnormal\n20 images", f"{2 * half:.3f}\n0.100 to 0.900")
        assert sheet.rows[1][:2] == ("nodule\n7 images", f"{half:.3f}\n0.010 to 0.990")
        assert paper.title == "CheXpert: AnatPaste by finding, beside the paper"
        assert paper.rows[-1] == (
            "Pleural Effusion", NOT_RUN, "0.800 ± 0.024", NOT_RUN, "0.668 ± 0.044", NOT_RUN, "0.728 ± 0.020"
        )  # fmt: skip

    def test_findings_of_the_paper_stand_beside_ours(self, tmp_path: Path) -> None:
        configs = planned(tmp_path, ("chexpert",), ("anatpaste",), (0,))
        folder = write_run(configs[0], shift=1.0)
        metrics = json.loads((folder / "metrics.json").read_text())
        metrics["findings"] = {"Edema": {**metrics["test"], "intervals": {"f1": [0.2, 0.8]}}}
        (folder / "metrics.json").write_text(json.dumps(metrics))
        records = read_records(load_runs([folder]))
        (beside,) = [
            sheet for sheet in sheets.by_finding(records, TABLES[2].published()) if "beside" in sheet.title
        ]
        rows = {row[0]: row[1:] for row in beside.rows}
        test = metrics["test"]
        assert rows["Edema"] == (
            f"{test['auc']:.3f}", "0.765 ± 0.017", f"{test['accuracy']:.3f}", "0.647 ± 0.043",
            "0.500\n0.200 to 0.800", "0.705 ± 0.020",
        )  # fmt: skip

    def test_ablations_of_the_paper_are_shown_where_none_was_run(self, two_sets: list[Run]) -> None:
        study = build_study(TABLES[3], two_sets, "smoke", [])
        (chexpert,) = [sheet for sheet in study.sheets if "CheXpert" in sheet.title]
        assert chexpert.rows[1:] == (
            ("AnatPaste without segmentation", NOT_RUN, "0.707 ± 0.016", NOT_RUN, "0.557 ± 0.059", NOT_RUN,
             "0.662 ± 0.009"),
            ("AnatPaste without blur", NOT_RUN, "0.602 ± 0.029", NOT_RUN, "0.525 ± 0.027", NOT_RUN,
             "0.651 ± 0.025"),
        )  # fmt: skip
        zhanglab = study.sheets[0]
        rows = {row[0]: row for row in zhanglab.rows}
        assert rows["AnatPaste"][2:] == ("0.914 ± 0.013", "-", "-")
        assert rows["AnatPaste without blur"][2] == NOT_GIVEN
        assert rows["AnatPaste without blur"][-1] not in ("", "-", "not comparable")

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
        of_auc = {row["paper"] for row in rows if row["metric"] == "auc"}
        assert of_auc == {"", "0.914", "0.804"}
        more = list(csv.DictReader(io.StringIO(to_csv(records, TABLES[1].published()))))
        assert more[: len(rows)] == rows
        (salad,) = [row for row in more if row["method"] == "salad" and row["metric"] == "f1"]
        assert (salad["value"], salad["paper"], salad["paper_deviation"]) == ("", "0.821", "0.003")
        study = build_study(TABLES[1], two_sets, "smoke", [])
        text = to_json(study, records, two_sets, TABLES[1].published())
        content = json.loads(text)
        assert len(content["paper"]) == len(TABLES[1].published())
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
