"""The model of what a list takes, and the figures of docs/cluster.md that come from it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")

from anatpaste_gpu.cluster.job import shard_size_for
from bench.cluster import Costs, processor_seconds, wall_seconds

PLAN = (Path(__file__).parent.parent / "docs" / "cluster.md").read_text(encoding="utf-8")
RECORD = Path(__file__).parent.parent / "bench" / "results" / "amd-epyc-2-cores" / "cluster.json"
IMAGES = 10_000_000


def test_waves() -> None:
    costs = Costs(image=0.5, shard=2.0, start=10.0)
    assert processor_seconds(costs, 130, 64) == 130 * 0.5 + 3 * 2.0
    one, two, three = (wall_seconds(costs, 130, 64, actors) for actors in (1, 2, 3))
    assert (one, two, three) == (10 + 3 * 34, 10 + 2 * 34, 10 + 34)
    assert wall_seconds(costs, 130, 64, 8) == three, "more actors than shards have no work"
    assert wall_seconds(costs, 10, 64, 8) == 10 + 5 + 2


@pytest.mark.parametrize(
    ("milliseconds", "actors", "column"), [(116.8, 64, 0), (30.1, 64, 1), (5.5 / 16, 1, 2)]
)
def test_figures_of_the_plan(milliseconds: float, actors: int, column: int) -> None:
    costs = Costs(milliseconds / 1000, 0.0)
    wall = wall_seconds(costs, IMAGES, shard_size_for(IMAGES), actors)
    told = re.search(r"\| wall clock \|(.*)\|(.*)\|(.*)\|", PLAN)
    assert told is not None
    number, unit = told[column + 1].split()
    # As many digits as the table has.
    assert wall / {"hours": 3600, "minutes": 60}[unit] == pytest.approx(float(number), rel=0.02)
    if unit == "hours":
        hours = processor_seconds(costs, 1_000_000, 1024) / 3600
        priced = re.findall(r"([\d.]+) core hours, ([\d.]+) USD", PLAN)[column]
        assert [hours, 0.04 * hours] == pytest.approx([float(figure) for figure in priced], rel=0.02)


def test_figures_of_the_wall_clock() -> None:
    """The record's are the model's and the page's."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))["wall_clock"]
    costs = Costs(**record["costs_in_seconds"])
    for run in record["runs"]:
        predicted = wall_seconds(costs, run["images"], record["shard_size"], run["actors"])
        assert run["predicted_seconds"] == pytest.approx(predicted), "but for how floats are added"
        told = (
            f"took {run['measured_seconds']:.1f} s where the formula without `start` says {predicted:.1f} s"
        )
        assert told in PLAN
