"""The tables of figures are those of the records that they name."""

from __future__ import annotations

import json

import pytest

from bench import records
from bench.readme import README


def test_readme_shows_the_records() -> None:
    text = README.read_text(encoding="utf-8")
    assert records.with_figures(text) == text, "README.md's figures are stale; run `python -m bench.readme`"


def test_readme_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"README.md must hold the line '<!-- figures of bench/results"):
        records.with_figures("none")


@pytest.mark.parametrize("entry", [*records.ZHANGLAB, *records.PHANTOMS], ids=lambda entry: entry.name)
def test_rows_hold_every_seed_and_their_source(entry: records.Entry) -> None:
    row = records.auc_table((entry,), full=True).splitlines()[-1]
    values = [f"{run['test']['auc']:.3f}" for run in entry.runs()]
    assert values
    assert all(value in row for value in values)
    assert f"(bench/results/{entry.file})" in row
    assert row.count(" | ") == 4
    assert row.count("`") % 2 == 0


def test_a_row_of_three_seeds() -> None:
    row = records.auc_table((records.ZHANGLAB[0],)).splitlines()[-1]
    held = json.loads((records.RESULTS / records.ZHANGLAB[0].file).read_text())
    low, high = held["runs"][0]["test"]["auc_interval"]
    assert f"{held['runs'][0]['test']['auc']:.3f} ({low:.3f} to {high:.3f})" in row
    assert f": {held['test_auc']['mean']:.3f} ± {held['test_auc']['standard_deviation']:.3f} |" in row
    assert (
        "AMD EPYC, one thread, bfloat16; `python train.py --dataset zhanglab --data-root DIR --preset best"
        in row
    )


def test_heat_maps_stand_beside_chance() -> None:
    lines = records.localisation_table().splitlines()
    assert len(lines) == 2 + 4 + 2
    assert lines[-1].startswith("| chance | 0.12 | 0.15 |")


def test_shares_of_the_augmentation() -> None:
    lines = records.augmentation_table().splitlines()[2:]
    assert len(lines) == 3 + 3 + 1
    assert all(line.endswith(" % |") for line in lines)
