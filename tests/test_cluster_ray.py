"""Scoring on a Ray of two cores, one of whose actors is killed: every image is scored exactly once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("ray", reason="the extra ray is not installed")

from anatpaste_gpu.cluster.job import ScoresFolder
from anatpaste_gpu.cluster.on_ray import connected, pool_for
from anatpaste_gpu.cluster.score import Run
from anatpaste_gpu.cluster.worker import ShardScorer, Work, model_hash

from .scored_shards import batch_of, request, rows_of, run, write_detector, write_images

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
    """Kills an actor as soon as it has begun a shard after the first parts were finished."""

    def __init__(self, output: Path) -> None:
        super().__init__(daemon=True)
        self.output, self.killed, self.over = output, list[int](), threading.Event()

    def run(self) -> None:
        while not self.killed and not self.over.wait(0.005):
            begun = len(list(self.output.glob(".tries-*")))
            if len(list(self.output.glob("part-*"))) >= 2 and begun == 2 and (found := actors()):
                os.kill(found[0], signal.SIGKILL)
                self.killed.append(found[0])


def test_a_killed_actor_costs_no_image_and_doubles_none(
    model: Path, paths: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output, folder = tmp_path / "out", Path(paths[0]).parent
    killer = Killer(output)
    killer.start()
    try:
        status = run(
            model, folder, "--engine", "ray", "-o", output, "--workers", "2", "--shard-size", str(SHARD)
        )
    finally:
        killer.over.set()
        killer.join()
    assert status == 3
    assert len(killer.killed) == 1
    assert killer.killed[0] not in actors()
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


def test_no_name_of_a_file_gets_into_the_logs_of_ray(paths: list[str]) -> None:
    import ray

    session = Path(ray._private.worker._global_node.get_session_dir_path())
    logs = [file for file in (session / "logs").rglob("*") if file.is_file()]
    assert logs
    folder = os.path.dirname(paths[0]).encode()
    assert not [file for file in logs if folder in file.read_bytes()]


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
