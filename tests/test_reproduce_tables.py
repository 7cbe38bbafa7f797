"""How the paper's tables are laid out: its own figures, sheets, statements, and the files."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path

import pytest

from anatpaste_gpu.methods import get_method, lookup, method_names, register
from anatpaste_gpu.report.render import render
from anatpaste_gpu.report.sheet import Sheet, Study
from anatpaste_gpu.reproduce import PUBLISHED, TABLES, plan_runs, read_records, sheets
from anatpaste_gpu.reproduce.published import NOT_GIVEN, NOT_RUN, QUOTED_ONLY, SYSTEMS
from anatpaste_gpu.reproduce.study import build_study, to_csv, to_json
from anatpaste_gpu.runs.records import Run, load_runs
from anatpaste_gpu.training import TrainConfig

from .reproduce_runs import planned, runs_of_two_sets, write_run


@pytest.fixture
def two_sets(tmp_path: Path) -> list[Run]:
    return runs_of_two_sets(tmp_path)


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
