"""Scoring and preparing on a Ray of two cores, one of whose actors is killed: every image is there once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("ray", reason="the extra ray is not installed")

from anatpaste_gpu.cluster.job import ScoresFolder
from anatpaste_gpu.cluster.on_ray import connected, pool_for
from anatpaste_gpu.cluster.score import Run
from anatpaste_gpu.cluster.worker import ShardScorer, Work, model_hash
from anatpaste_gpu.data import SplitManifest
from anatpaste_gpu.data.registry import SOURCES

from .commands import run as command
from .scored_shards import SIDE, batch_of, logged_source, request, rows_of, run, write_detector, write_images

pytestmark = pytest.mark.slow
SHARD, SHARDS = 64, 12
#: How Ray begins what it tells of itself, in yellow.
RAYLET = "\x1b[33m(raylet)"
#: Of each shard but the last, which is not a whole one.
BROKEN = tuple(range(5, SHARD * (SHARDS - 1), SHARD))


@pytest.fixture(scope="module", autouse=True)
def ray_of_two() -> Iterator[None]:
    with connected(None, workers=2):
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_detector(tmp_path_factory.mktemp("model") / "model.safetensors")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("images") / "images"
    return write_images(folder, SHARD * (SHARDS - 1) + 9, BROKEN)


def parent(process: int) -> int:
    try:
        # The name of a process, in brackets, may hold anything.
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def actors() -> list[int]:
    """Processes of the actors that the Ray of this process holds."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        process = int(file.parent.name)
        try:
            is_actor = file.read_bytes().startswith(b"ray::MapWorker")
        except OSError:
            continue
        ancestor = process
        while is_actor and ancestor not in (0, os.getpid()):
            ancestor = parent(ancestor)
        if is_actor and ancestor == os.getpid():
            found.append(process)
    return found


class Killer(threading.Thread):
    """Kills an actor in the middle of a shard, after the first were finished; a context manager.

    Both, where only one of them has begun a shard.

    Args:
        output: the folder of the parts.
        finished: how many shards were.
    """

    def __init__(self, output: Path, finished: Callable[[], int]) -> None:
        super().__init__(daemon=True)
        self.output, self.finished = output, finished
        self.killed, self.over = list[int](), threading.Event()

    def run(self) -> None:
        while not self.killed and not self.over.wait(0.005):
            begun = len(list(self.output.glob(".tries-*")))
            if self.finished() >= 2 and begun and (found := actors()):
                # Where only one has begun, the other may still start for minutes: which is which is not seen.
                for victim in found[: 1 if begun == len(found) else None]:
                    os.kill(victim, signal.SIGKILL)
                    self.killed.append(victim)

    def __enter__(self) -> Killer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()


def test_a_killed_actor_costs_no_image_and_doubles_none(
    model: Path, paths: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output, folder = tmp_path / "out", Path(paths[0]).parent
    with Killer(output, lambda: len(list(output.glob("part-*")))) as killer:
        status = run(
            model, folder, "--engine", "ray", "-o", output, "--workers", "2", "--shard-size", str(SHARD)
        )
    assert status == 3
    assert killer.killed
    assert not set(killer.killed) & set(actors())
    rows = rows_of(output)
    assert [row["path"] for row in rows] == paths
    assert [number for number, row in enumerate(rows) if row["error"] is not None] == list(BROKEN)
    assert not list(output.glob(".*"))
    assert rows == rows_of(by_one_process(model, paths, tmp_path / "alone"))
    said = capfd.readouterr()
    [told] = [line for line in said.out.splitlines() if not line.startswith(RAYLET)]
    assert told.startswith(f"{len(paths)} images in {SHARDS} shards ({SHARDS} on ")
    assert f"{len(BROKEN)} images could not be read; see the column error." in said.err
    others = [line for line in said.err.splitlines() if not line.startswith(("anatpaste score: ", RAYLET))]
    assert not others
    assert str(folder) not in said.err


def by_one_process(model: Path, paths: list[str], output: Path) -> Path:
    """The same rows without Ray."""
    with ScoresFolder(output) as folder:
        job = folder.begin(model_hash(model), 470.0, paths, len(paths), SHARD)
        scorer = ShardScorer(Work(str(output), "/", str(model), job, -1, 1, batch_of))
        assert not [done for done in map(scorer, range(job.shards)) if done.failure]
    return output


def test_an_actor_killed_while_preparing_changes_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What was decoded is not decoded again, but for the block at which the actor died."""
    root, cache, log = tmp_path / "radiographs", tmp_path / "cache", tmp_path / "log"
    write_images(root / "normal", 9 * SHARD, broken=(5, 300))
    write_images(root / "abnormal", SHARD, broken=())
    words = ("--dataset", "folder", "--data-root", root, "--image-size", str(SIDE))
    assert command("prepare", *words, "--cache", tmp_path / "plain") == 3
    [plain] = (tmp_path / "plain").iterdir()
    journal = cache / plain.name / "journal.jsonl"

    def finished() -> int:
        return journal.read_bytes().count(b"\n") if journal.is_file() else 0

    monkeypatch.setitem(SOURCES, "folder", logged_source(log))
    capfd.readouterr()
    with Killer(cache / plain.name / "parts", finished) as killer:
        status = command("prepare", *words, "--cache", cache, "--engine", "ray", "--workers", "2")
    assert status == 3
    assert killer.killed
    assert {file.name: file.read_bytes() for file in (cache / plain.name).iterdir()} == {
        file.name: file.read_bytes() for file in plain.iterdir()
    }
    entries = SplitManifest.load(split_file(root, tmp_path)).entries
    read = [line.split(" ", 1) for line in log.read_text().splitlines()]
    counts = Counter(path for _, path in read)
    assert counts.keys() == {entry.path for entry in entries}
    again = {number // SHARD for number, entry in enumerate(entries) if counts[entry.path] > 1}
    assert max(counts.values()) <= 2
    # None where the one that had begun had not read an image of its block.
    assert len(again) <= 1, "one block"
    by_the_killed = {path for process, path in read if int(process) in killer.killed}
    assert {path for path, count in counts.items() if count > 1} <= by_the_killed
    said = capfd.readouterr()
    assert f": {len(entries) - 2} decoded, the others found there, in " in said.out
    assert said.err.count("skipped: ") == 2
    no_name_in_the_logs(root)


def split_file(root: Path, folder: Path) -> Path:
    """The split that preparing draws."""
    file = folder / "split.json"
    assert command("prepare", "--dataset", "folder", "--data-root", root, "-o", file) == 0
    return file


def no_name_in_the_logs(folder: Path) -> None:
    """Nothing that Ray wrote holds the name of a folder of images."""
    import ray

    session = Path(ray._private.worker._global_node.get_session_dir_path())
    logs = [file for file in (session / "logs").rglob("*") if file.is_file()]
    assert logs
    assert not [file for file in logs if os.fsencode(folder) in file.read_bytes()]


def test_no_name_of_a_file_gets_into_the_logs_of_ray(paths: list[str]) -> None:
    no_name_in_the_logs(Path(paths[0]).parent)


def test_a_failure_of_an_actor_is_one_sentence(model: Path, paths: list[str], tmp_path: Path) -> None:
    begin = time.monotonic()

    def failing(detector: object) -> int:
        raise RuntimeError("out of luck")

    scoring = Run(request(model, paths, tmp_path / "out", batch_of=failing, workers=1))
    with pytest.raises(ValueError, match=r"^out of luck; finished shards are kept\.$"):
        scoring.complete(progress=False)
    assert time.monotonic() - begin < 600, "it ends at the first, rather than try again for ever"


def test_pools() -> None:
    assert pool_for(100, -1, None) == pool_for(100, 0, None)
    assert pool_for(100, 0, None).actors == 2
    assert pool_for(100, 0, 1).actors == 1
    assert pool_for(1, 0, None).actors == 1
