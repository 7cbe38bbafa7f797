"""Trackers beside TensorBoard: the same scalars, a resumed run goes on, and no failure ends a run."""

from __future__ import annotations

import csv
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anatpaste_gpu.cli.train import parse
from anatpaste_gpu.data import DatasetSplits
from anatpaste_gpu.extras import MissingExtra
from anatpaste_gpu.runs import RunFolder
from anatpaste_gpu.training.trackers import background, wandb_run
from anatpaste_gpu.training.trackers.background import Background, why
from anatpaste_gpu.training.trackers.csv_file import CsvTracker
from anatpaste_gpu.training.trackers.trackers import parameters

from .training_runs import interrupted_after, killed_after, phantoms, printed, quiet, tiny, train


@pytest.fixture(scope="module")
def splits() -> DatasetSplits:
    return phantoms()


def rows(folder: Path) -> list[tuple[int, str, float]]:
    with open(folder / "scalars.csv", newline="") as file:
        return [(int(row["step"]), row["name"], float(row["value"])) for row in csv.DictReader(file)]


def tensorboard(folder: Path) -> list[tuple[int, str, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    return [(one.step, name, one.value) for name in events.Tags()["scalars"] for one in events.Scalars(name)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, splits: DatasetSplits) -> Path:
    """A run that was told to a file and not interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(tiny(folder, tracker="csv"), splits=splits, console=quiet())
    return folder


class TestCsv:
    def test_it_has_what_tensorboard_has(self, whole: Path) -> None:
        own, other = (sorted(read(whole)) for read in (rows, tensorboard))
        assert [row[:2] for row in own] == [row[:2] for row in other]
        # TensorBoard keeps float32.
        assert [row[2] for row in own] == pytest.approx([row[2] for row in other], rel=1e-6)

    def test_a_killed_run_has_every_step_once(
        self, tmp_path: Path, splits: DatasetSplits, whole: Path
    ) -> None:
        config = tiny(tmp_path / "run", tracker="csv")
        with killed_after(8):
            train(config, splits=splits, console=quiet())
        train(config, splits=splits, console=quiet())
        own, other = sorted(rows(tmp_path / "run")), sorted(rows(whole))
        assert [row[:2] for row in own] == [row[:2] for row in other]
        # The others are means since the last line, or since the start, and times.
        exact = ("epoch/", "validation/")
        assert [row for row in own if row[1].startswith(exact)] == [
            row for row in other if row[1].startswith(exact)
        ]

    def test_rows_that_are_cut_off_or_void_go(self, tmp_path: Path) -> None:
        path = tmp_path / "scalars.csv"
        path.write_text("step,name,value\n1,a,0.5\n3,a,0.25\n2,a,0.75\n2,b,0.")
        tracker = CsvTracker(path)
        tracker.begin(3)
        tracker.scalars(4, {"a": 1})
        tracker.end(True)
        assert path.read_text() == "step,name,value\n1,a,0.5\n2,a,0.75\n4,a,1.0\n"

    def test_a_full_disk_ends_it_and_not_the_run(
        self, tmp_path: Path, splits: DatasetSplits, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: Any) -> None:
            raise OSError(28, os.strerror(28))

        monkeypatch.setattr(CsvTracker, "scalars", full)
        console = quiet()
        train(tiny(tmp_path / "run", tracker="csv"), splits=splits, console=console)
        told = [line for line in printed(console).splitlines() if "--tracker" in line]
        assert len(told) == 1
        assert told[0].startswith("--tracker csv ends here (")
        assert told[0].endswith("; the run goes on without it.")
        assert RunFolder(tmp_path / "run").metrics.exists()

    def test_overwriting_removes_it(self, tmp_path: Path, splits: DatasetSplits) -> None:
        folder = RunFolder(tmp_path)
        folder.begin(tiny(tmp_path), splits.manifest)
        folder.scalars.write_text("step,name,value\n")
        folder.trackers.write_text("{}")
        (folder.wandb / "offline").mkdir(parents=True)
        folder.begin(tiny(tmp_path, overwrite=True), splits.manifest)
        assert not [path for path in (folder.scalars, folder.trackers, folder.wandb) if path.exists()]


class TestAsked:
    def test_by_names_between_commas(self) -> None:
        config = parse(["--tracker", "csv, wandb,csv", "--gpu", "-1"])
        assert config.place.trackers == ("csv", "wandb")
        assert config.recipe_hash() == parse(["--gpu", "-1"]).recipe_hash()
        assert parse(["--gpu", "-1"]).place.trackers == ()

    def test_an_unknown_one_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            parse(["--tracker", "csv,clearml"])
        assert "tracker must name some of csv, mlflow, wandb, got 'clearml'." in capsys.readouterr().err

    @pytest.mark.parametrize(("name", "package"), [("mlflow", "mlflow-skinny"), ("wandb", "wandb")])
    def test_a_missing_one_is_named_before_any_work(
        self, name: str, package: str, tmp_path: Path, splits: DatasetSplits, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(
            MissingExtra,
            match=rf'^--tracker {name} needs {package}, .* "anatpaste_gpu\[{name}\]" brings it\.$',
        ):
            train(tiny(tmp_path / "run", tracker=name), splits=splits, console=quiet())
        assert not (tmp_path / "run").exists()

    def test_parameters_are_the_recipe_without_files(self, tmp_path: Path) -> None:
        config = tiny(tmp_path, masks="/home/somebody/masks", cache="/home/somebody/cache")
        found = parameters(config)
        assert found["batch_size"] == 4
        assert found["augmentation.margin"] == config.to_dict()["augmentation"]["margin"]
        assert found["recipe_hash"] == config.recipe_hash()
        assert "somebody" not in json.dumps(found)
        assert str(tmp_path) not in json.dumps(found)


class Recording:
    """A tracker that notes its calls, and fails or waits where it is told to."""

    def __init__(self, fails_at: str = "", waits: threading.Event | None = None) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._fails_at, self._waits = fails_at, waits

    def begin(self, first: int) -> None:
        self._note("begin", first)

    def scalars(self, step: int, values: Any) -> None:
        self._note("scalars", step, dict(values))

    def end(self, finished: bool) -> None:
        self._note("end", finished)

    def _note(self, name: str, *words: Any) -> None:
        if self._waits is not None:
            self._waits.wait()
        if name == self._fails_at:
            raise ConnectionError("https://me:secret@host/api cannot be reached")
        self.calls.append((name, *words))


class TestBackground:
    def test_calls_come_in_their_order(self) -> None:
        tracker = Recording()
        shown = Background("x", tracker, pytest.fail)
        shown.begin(0)
        shown.scalars(1, {"a": 2.0})
        shown.end(True)
        assert tracker.calls == [("begin", 0), ("scalars", 1, {"a": 2.0}), ("end", True)]

    @pytest.mark.parametrize("place", ["begin", "scalars", "end"])
    def test_a_failure_is_one_sentence_without_a_password(self, place: str) -> None:
        said: list[str] = []
        shown = Background("x", Recording(place), said.append)
        shown.begin(0)
        for step in range(3):
            shown.scalars(step, {})
        shown.end(True)
        shown._thread.join()
        assert said == [
            "--tracker x ends here (https://host/api cannot be reached); the run goes on without it."
        ]

    def test_the_end_waits_for_so_long_and_no_longer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(background, "PATIENCE", 0.2)
        said: list[str] = []
        release = threading.Event()
        shown = Background("x", Recording(waits=release), said.append)
        started = time.monotonic()
        shown.begin(0)
        shown.scalars(1, {})
        assert time.monotonic() - started < 0.2, "nothing waits before the end"
        shown.end(True)
        release.set()
        assert said == ["--tracker x has not taken everything in 0 s; it is left so."]

    def test_long_reasons_are_cut(self) -> None:
        assert len(why(ValueError("x" * 1000))) < 250


@pytest.fixture
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A working folder of its own, and nobody's server or account."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "WANDB_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    yield
    # What the trackers set for themselves.
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "WANDB_"))]:
        os.environ.pop(name)


@pytest.mark.usefixtures("in_a_folder")
class TestMlflow:
    def test_scalars_parameters_and_a_run_that_goes_on(self, tmp_path: Path, splits: DatasetSplits) -> None:
        pytest.importorskip("mlflow", reason="the extra mlflow brings it")
        pytest.importorskip("alembic", reason="the extra mlflow brings it")
        from mlflow import MlflowClient

        config = tiny(tmp_path / "run", tracker="csv,mlflow")
        with interrupted_after(8):
            train(config, splits=splits, console=quiet())
        client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
        kept = json.loads((tmp_path / "run" / "trackers.json").read_text())["mlflow"]
        assert client.get_run(kept["run"]).info.status == "KILLED"
        train(config, splits=splits, console=quiet())
        run = client.get_run(kept["run"])
        assert run.info.status == "FINISHED"
        assert run.data.params == {name: str(value) for name, value in parameters(config).items()}
        experiment = client.get_experiment_by_name("anatpaste_gpu")
        assert len(client.search_runs([experiment.experiment_id])) == 1
        for name in ("validation/auc", "train/loss", "epoch/loss"):
            found = [(one.step, one.value) for one in client.get_metric_history(kept["run"], name)]
            assert sorted(found) == [
                (step, value) for step, own, value in rows(tmp_path / "run") if own == name
            ]

    def test_a_server_that_is_not_there(
        self, tmp_path: Path, splits: DatasetSplits, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pytest.importorskip("mlflow", reason="the extra mlflow brings it")
        pytest.importorskip("alembic", reason="the extra mlflow brings it")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        console = quiet()
        train(tiny(tmp_path / "run", tracker="mlflow"), splits=splits, console=console)
        told = [line for line in printed(console).splitlines() if "--tracker" in line]
        assert len(told) == 1
        assert told[0].startswith("--tracker mlflow ends here (")
        assert RunFolder(tmp_path / "run").metrics.exists()


@pytest.mark.usefixtures("in_a_folder")
class TestWandb:
    def test_it_writes_files_and_a_run_goes_on(self, tmp_path: Path, splits: DatasetSplits) -> None:
        pytest.importorskip("wandb", reason="the extra wandb brings it")
        config = tiny(tmp_path / "run", tracker="wandb")
        with interrupted_after(8):
            train(config, splits=splits, console=quiet())
        train(config, splits=splits, console=quiet())
        own = json.loads((tmp_path / "run" / "trackers.json").read_text())["wandb"]["run"]
        folders = sorted((tmp_path / "run" / "wandb").glob("offline-run-*"))
        assert len(folders) == 2
        assert all(folder.name.endswith(own) for folder in folders)
        logs = [b"".join(file.read_bytes() for file in folder.glob("*.wandb")) for folder in folders]
        for log in logs:
            assert b"validation/auc" in log
            assert b"recipe_hash" in log
            assert str(Path.cwd()).encode() not in log.replace(str(tmp_path / "run").encode(), b"")

    @pytest.mark.parametrize(
        ("environment", "netrc", "expected"),
        [
            ({}, "", "offline"),
            ({"WANDB_API_KEY": "k"}, "", "online"),
            ({"WANDB_API_KEY": "k", "WANDB_MODE": "disabled"}, "", "disabled"),
            ({}, "machine api.wandb.ai login user password k\n", "online"),
            (
                {"WANDB_BASE_URL": "https://own.host"},
                "machine api.wandb.ai login user password k\n",
                "offline",
            ),
            ({}, "machine", "offline"),
        ],
    )
    def test_offline_unless_logged_in(
        self,
        environment: dict[str, str],
        netrc: str,
        expected: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        (tmp_path / "netrc").write_text(netrc)
        assert wandb_run.mode() == expected
