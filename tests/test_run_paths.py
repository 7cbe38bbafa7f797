"""Runs that are continued and reported from another folder than the one where they began."""

from __future__ import annotations

import csv
import json
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anatpaste_gpu.cli import main
from anatpaste_gpu.cli.train import main as train_command
from anatpaste_gpu.runs import RunFolder, TrainConfig, load_runs

from .training_runs import interrupted_after, quiet, tiny, train

LITTER = [
    ".DS_Store", "._x.png", ".gitkeep", ".gitignore", "Thumbs.db", "desktop.ini", "nohup.out", "train.log",
    "slurm-12.out", "slurm-12.err",
]  # fmt: skip


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a data set, whose file names are not UTF-8, and masks."""
    rng = np.random.default_rng(0)
    for kind, count in (("normal", 20), ("sick", 8)):
        for part in ("data", "masks"):
            (tmp_path / "work" / part / kind).mkdir(parents=True)
        for i in range(count):
            name = f"{kind}/M{i}\udcfc.png"
            pixels = rng.integers(0, 120 + 100 * (kind == "sick"), (32, 32)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "work" / "data" / name)
            Image.fromarray(np.full((32, 32), 255, np.uint8)).save(tmp_path / "work" / "masks" / name)
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def config(output: str, **changes: object) -> TrainConfig:
    return tiny(Path(output), dataset="folder", data_root="data", **changes)


def test_a_run_goes_on_and_is_reported_from_elsewhere(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"masks": "masks", "cache": "cache"}
    train(config("whole", **settings), console=quiet())
    with interrupted_after(4, signal.SIGINT):
        train(config("run", **settings), console=quiet())
    monkeypatch.chdir(work.parent)
    assert train_command(["--resume", "work/run"]) == 0
    metrics = [json.loads((work / name / "metrics.json").read_text()) for name in ("whole", "run")]
    assert metrics[0] == metrics[1]
    assert sorted(path.name for path in work.parent.iterdir()) == ["work"], "nothing is written elsewhere"
    assert main(["report", "work/run", "-o", "r.html", "--gpu", "-1", "--no-heatmaps", "--figures", "f"]) == 0
    (work.parent / "r.html").read_text(encoding="utf-8")
    (run,) = load_runs([work / "run"])
    assert {image.name for image in run.test} <= {
        path.relative_to(work / "data").as_posix() for path in (work / "data").rglob("*.png")
    }
    rows = (work / "run" / "scores.csv").read_bytes().splitlines()[1:]
    assert all(b"\xfc.png" in row for row in rows)


def test_the_command_that_began_a_run_still_continues_it(work: Path) -> None:
    """Paths are compared as they are seen from the working folder, in runs of before as well."""
    folder = RunFolder(work / "run")
    plan = config("run", masks="masks")
    for stored in (plan, plan.with_absolute_paths()):
        assert stored.difference(plan) is None
        assert plan.difference(stored) is None
    other = plan.replace(masks="other")
    assert plan.difference(other) == ("masks", str(work / "masks"), str(work / "other"))
    assert folder.check(plan) is False


def test_paths_that_are_not_given_stay_so(work: Path) -> None:
    place = tiny(work / "run").with_absolute_paths().place
    assert (place.data_root, place.cache) == (None, None)
    absolute = config("run").with_absolute_paths().place
    assert absolute.data_root == str(work / "data")
    assert absolute.output == "run", "a run folder is told where it is"


def test_a_word_in_place_of_a_file_of_weights_is_no_path(work: Path) -> None:
    settings = {"method": "memory", "backbone": "tf_efficientnet_lite0", "image_size": 64}
    for weights, expected in (("pretrained", "pretrained"), ("w.pt", str(work / "w.pt"))):
        absolute = config("run", weights=weights, **settings).with_absolute_paths()
        assert absolute.recipe.network.weights == expected


class TestEmptyFolders:
    @pytest.mark.parametrize("name", LITTER)
    def test_litter_is_nothing(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_text("x")
        folder = RunFolder(tmp_path)
        assert folder.check(tiny(tmp_path)) is False
        folder.sweep()
        assert (tmp_path / name).read_text() == "x", "and it stays"

    @pytest.mark.parametrize("name", ["lost+found", ".ipynb_checkpoints", "@eaDir"])
    def test_folders_of_the_system_are_nothing(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).mkdir()
        assert RunFolder(tmp_path).check(tiny(tmp_path)) is False

    @pytest.mark.parametrize("name", ["x.png", "results.csv", ".bashrc", ".git", "log", "a.log/x"])
    def test_anything_else_is_somebodys(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
        with pytest.raises(ValueError, match="exists and is not a run folder"):
            RunFolder(tmp_path).check(tiny(tmp_path))


def test_scores_with_any_name_are_read_back(tmp_path: Path, finished_runs: list[Path]) -> None:
    for name in ("config.yaml", "metrics.json"):
        (tmp_path / name).write_bytes((finished_runs[0] / name).read_bytes())
    with open(finished_runs[0] / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    with open(tmp_path / "scores.csv", "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({**row, "name": f"M\udcfc{i}.png"} for i, row in enumerate(rows))
    (run,) = load_runs([tmp_path])
    assert all(image.name.startswith("M\udcfc") for image in run.test)
