"""Scoring in shards without Ray: the plain command's scores, each once, and whatever goes wrong a row."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")

from anatpaste_gpu.cluster import parts, worker
from anatpaste_gpu.cluster.job import LOCK, MANIFEST, PATHS, ScoresFolder, shard_size_for
from anatpaste_gpu.cluster.score import Run
from anatpaste_gpu.cluster.shard_worker import Done
from anatpaste_gpu.cluster.tries import MOST_TRIES, Tries
from anatpaste_gpu.cluster.worker import ShardScorer, Work
from anatpaste_gpu.data.errors import ImageReadWarning
from anatpaste_gpu.methods import Detector

from .scored_shards import (
    BROKEN,
    COUNT,
    request,
    rows_of,
    run,
    without_ray,
    write_detector,
    write_images,
)

pytestmark = pytest.mark.usefixtures("one_thread")
ENGINE = ("--engine", "ray")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("model") / "model.safetensors")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Images without a broken one."""
    return write_images(tmp_path_factory.mktemp("images") / "whole", broken=())


@pytest.fixture(scope="module")
def some_broken(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write_images(tmp_path_factory.mktemp("images") / "some")


@pytest.fixture(autouse=True)
def shards(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Shards as they are scored, by this process."""
    with without_ray(monkeypatch) as scored:
        yield scored


def plain_scores(model: Path, folder: Path, output: Path) -> dict[str, float]:
    run(model, folder, "--output", output)
    with open(output, newline="") as file:
        return {row["name"]: float(row["score"]) for row in csv.DictReader(file)}


def test_scores_are_those_of_the_plain_command(model: Path, whole: list[str], tmp_path: Path) -> None:
    """To the bit: 140 images are whole batches of 64 and the same last one."""
    folder = Path(whole[0]).parent
    assert run(model, folder, *ENGINE, "-o", tmp_path / "out", "--shard-size", "64") == 0
    rows = rows_of(tmp_path / "out")
    assert [row["path"] for row in rows] == whole
    assert {row["path"]: row["score"] for row in rows} == plain_scores(model, folder, tmp_path / "plain.csv")
    calibration = Detector.load(model).calibration
    assert calibration is not None
    for row in rows:
        assert row["threshold"] == calibration.threshold
        assert row["decision"] == int(row["score"] >= calibration.threshold)
        assert row["normalised_score"] == calibration.normalise(row["score"])
        assert row["error"] is row["note"] is None
        assert row["model_hash"] == worker.model_hash(model)
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert manifest["complete"] is True
    assert [part["images"] for part in manifest["parts"]] == [64, 64, 12]


def test_a_broken_file_is_a_row_with_its_reason(
    model: Path, some_broken: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(some_broken[0]).parent
    assert run(model, folder, *ENGINE, "-o", tmp_path / "out", "--shard-size", "64") == 3
    assert f"{len(BROKEN)} images could not be read; see the column error." in capsys.readouterr().err
    rows = rows_of(tmp_path / "out")
    assert [row["path"] for row in rows] == some_broken
    for number in BROKEN:
        assert rows[number]["error"].startswith("truncated or damaged PNG file")
        assert rows[number]["score"] is rows[number]["decision"] is rows[number]["normalised_score"] is None
    expected = plain_scores(model, folder, tmp_path / "plain.csv")
    scores = {row["path"]: row["score"] for row in rows if row["error"] is None}
    assert scores.keys() == expected.keys()
    # The plain command's last batch, and that of the last shard, are smaller: other kernels, other last bits.
    batch = 64
    in_whole_batches = [*expected][: len(expected) // batch * batch]
    to_the_bit = [path for path in in_whole_batches if path in some_broken[: COUNT // batch * batch]]
    assert len(to_the_bit) == 2 * batch - 3
    assert all(scores[path] == expected[path] for path in to_the_bit)
    assert scores == pytest.approx(expected, abs=1e-5), "scores are about 470"


def test_an_interrupted_run_goes_on(
    model: Path, some_broken: list[str], tmp_path: Path, shards: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    first = Run(request(model, some_broken, output))
    take = Run._take

    def stop(self: Run, done: Done) -> None:
        take(self, done)
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "_take", stop)
    with pytest.raises(KeyboardInterrupt):
        first.complete()
    monkeypatch.setattr(Run, "_take", take)
    assert first.images == 64
    assert json.loads((output / MANIFEST).read_text())["complete"] is False
    (output / ".part-000001.parquet.x").write_text("cut off")
    second = Run(request(model, some_broken, output, shard_size=None))
    second.complete()
    assert shards == [0, 1, 2]
    assert (second.found, second.shards, second.images, second.errors) == (1, 3, COUNT, len(BROKEN))
    assert [row["path"] for row in rows_of(output)] == some_broken
    left = {"part-000000.parquet", "part-000001.parquet", "part-000002.parquet", MANIFEST, PATHS}
    assert {file.name for file in output.iterdir()} == left
    (output / "part-000001.parquet").write_bytes((output / "part-000001.parquet").read_bytes()[:-1])
    Run(request(model, some_broken, output)).complete()
    assert shards == [0, 1, 2, 1], "a part that is not whole is scored again, and no other"


def test_another_job_is_refused(model: Path, whole: list[str], tmp_path: Path) -> None:
    output = tmp_path / "out"
    Run(request(model, whole[:3], output)).complete()
    before = {file.name: file.read_bytes() for file in output.iterdir()}
    other = write_detector(tmp_path / "other.safetensors", seed=1)
    for what, wrong in {
        "another model": request(other, whole[:3], output),
        "another list of images": request(model, whole[:2], output),
        "another threshold": request(model, whole[:3], output, threshold=1.0),
        "another shard size": request(model, whole[:3], output, shard_size=128),
    }.items():
        with pytest.raises(ValueError, match=f"holds scores of {what}; choose another --output, or rem"):
            Run(wrong).complete()
    assert {file.name: file.read_bytes() for file in output.iterdir()} == before


@pytest.mark.parametrize("threads", [1, 3])
def test_notes_of_headers_are_a_column(
    threads: int, model: Path, whole: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    read = worker.read_image

    def noted(path: str, side: int) -> Any:
        warnings.warn(f"{path}: WindowWidth is empty.", ImageReadWarning, stacklevel=1)
        warnings.warn("DOE^JANE", UserWarning, stacklevel=1)
        return read(path, side)

    monkeypatch.setattr(worker, "read_image", noted)
    with ScoresFolder(tmp_path / "out") as folder:
        job = folder.begin(worker.model_hash(model), 470.0, whole[:20], 20, 64)
        work = Work(str(folder.path), "/", str(model), job, -1, threads, lambda detector: 16)
        assert ShardScorer(work)(0).part.notes == 20
    assert {row["note"] for row in rows_of(tmp_path / "out")} == {"WindowWidth is empty."}
    assert capfd.readouterr() == ("", "")


class TestTries:
    def die_at(self, folder: Path, place: int) -> None:
        code = (
            "import os, pathlib; from anatpaste_gpu.cluster.tries import Tries\n"
            f"with Tries(pathlib.Path({str(folder)!r}), 4) as tries:\n"
            f"    tries.at({place}); os.kill(os.getpid(), 9)"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9

    def test_a_place_where_two_processes_died_is_deadly(self, tmp_path: Path) -> None:
        assert not Tries(tmp_path, 4).careful
        for place in (-1, 7, 9, 7):
            self.die_at(tmp_path, place)
        tries = Tries(tmp_path, 4)
        assert tries.careful
        assert tries.deadly == {7}
        with tries:
            pass
        assert not any(tmp_path.iterdir())

    def test_a_shard_is_not_tried_for_ever(self, tmp_path: Path) -> None:
        (tmp_path / ".tries-000004").write_text(f"{-1:>10}\n" * MOST_TRIES)
        with pytest.raises(ValueError, match=r"^shard 4 was begun 10 times by processes that died; "):
            Tries(tmp_path, 4)

    def test_a_deadly_file_is_a_row(self, model: Path, whole: list[str], tmp_path: Path) -> None:
        with ScoresFolder(tmp_path) as folder:
            job = folder.begin(worker.model_hash(model), 470.0, whole[:5], 5, 64)
            (tmp_path / ".tries-000000").write_text("".join(f"{place:>10}\n" for place in (-1, 2, 2)))
            done = ShardScorer(Work(str(tmp_path), "/", str(model), job, -1, 2, lambda detector: 16))(0)
        assert (done.failure, done.part.errors) == ("", 1)
        errors = [row["error"] for row in rows_of(tmp_path)]
        assert errors == [None, None, "the process that read it died, twice.", None, None]


class TestFailures:
    def failure(self, model: Path, paths: list[str], output: Path, spoil: Callable[[Path], Any]) -> str:
        with ScoresFolder(output) as folder:
            job = folder.begin(worker.model_hash(model), 470.0, paths, len(paths), 64)
            work = Work(str(output), "/", str(model), job, -1, 1, lambda detector: 16)
            return ShardScorer(spoil(work))(0).failure

    def test_sentences(self, model: Path, whole: list[str], tmp_path: Path) -> None:
        from dataclasses import replace

        def failure(**changes: Any) -> str:
            return self.failure(model, whole[:2], tmp_path / "out", lambda work: replace(work, **changes))

        other = write_detector(tmp_path / "other.safetensors", seed=1)
        assert failure(model=str(other)).startswith(f"{other} is another model on ")
        assert ", expected 0.0." in failure(version="0.0")
        assert failure(model="gone").startswith("gone cannot be read: No such file")
        assert failure() == ""

    def test_a_failure_ends_the_run(
        self, model: Path, whole: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(parts, "write_atomically", full)
        with pytest.raises(ValueError, match="cannot be written: No space left on device; finished"):
            Run(request(model, whole, tmp_path / "out")).complete()


class TestExceptions:
    def complaint(self, capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
        assert run(*words) == 1
        return capsys.readouterr().err

    def test_options(self, model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        words = (model, "x.png")
        assert "--address goes with --engine." in self.complaint(capsys, *words, "--address", "auto")
        assert "--engine ray needs --output, a folder." in self.complaint(capsys, *words, *ENGINE)
        for flag in (("--format", "csv"), ("--anonymise", "k"), ("--heat-maps", "m")):
            said = self.complaint(capsys, *words, *ENGINE, "-o", tmp_path / "out", *flag)
            assert f"{flag[0]} does not go with --engine ray." in said
        said = self.complaint(capsys, *words, *ENGINE, "-o", tmp_path / "out", "--shard-size", "100")
        assert "shard size must be a multiple of 64, got 100." in said
        assert not (tmp_path / "out").exists()

    def test_output(self, model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        words = (model, "x.png", *ENGINE, "-o")
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "notes.txt").write_text("")
        said = self.complaint(capsys, *words, tmp_path / "mine")
        assert "exists and holds no scores of --engine ray; choose another --output." in said
        assert "is a file; --engine ray writes a folder." in self.complaint(capsys, *words, model)
        with ScoresFolder(tmp_path / "out"):
            assert "is being filled by another command." in self.complaint(capsys, *words, tmp_path / "out")
        assert not (tmp_path / "out" / LOCK).exists()

    def test_nothing_to_score(self, model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        said = self.complaint(capsys, model, tmp_path, *ENGINE, "-o", tmp_path / "out")
        assert "no PNG, JPEG or DICOM file in this folder." in said
        assert "no image could be scored." in said


def test_lists_and_names(
    model: Path, whole: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative paths, one file twice, a folder where a file should be, a name that is no text."""
    monkeypatch.chdir(Path(whole[0]).parent)
    odd = str(tmp_path / "odd\udcff.png")
    Path(odd).write_bytes(Path(whole[0]).read_bytes())
    (tmp_path / "list.csv").write_text(f"path\n00000.png\n00000.png\n{tmp_path}\n")
    assert run(model, odd, tmp_path / "list.csv", *ENGINE, "-o", tmp_path / "out") == 3
    rows = rows_of(tmp_path / "out")
    names = [f"{tmp_path}/odd\\xff.png", "00000.png", "00000.png", str(tmp_path)]
    assert [row["path"] for row in rows] == names
    assert rows[0]["score"] == rows[1]["score"] == rows[2]["score"]
    assert rows[3]["error"] == "the file cannot be opened (Is a directory)."


def test_the_plain_command_takes_lists(model: Path, whole: list[str], tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("\n".join(["path", *whole[:3]]) + "\n")
    assert [*plain_scores(model, tmp_path / "list.csv", tmp_path / "scores.csv")] == whole[:3]


@pytest.mark.parametrize(
    ("images", "size"), [(1, 64), (4096, 64), (10_000, 128), (65_536, 1024), (10_000_000, 1024)]
)
def test_shard_sizes(images: int, size: int) -> None:
    assert shard_size_for(images) == size
