"""Preparing in shards without Ray: the plain command's files to the byte, each image decoded once."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import time
import types
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")

from anatpaste_gpu.cluster import parts
from anatpaste_gpu.cluster import prepare as prepare_module
from anatpaste_gpu.cluster.decoder import BlockDecoder, DecodeWork
from anatpaste_gpu.cluster.prepare import prepare_on_ray
from anatpaste_gpu.cluster.shard_worker import Done
from anatpaste_gpu.data import DatasetError, ImageReadWarning, SplitManifest, plan_split, prepare
from anatpaste_gpu.data.cache import CachedImages
from anatpaste_gpu.data.registry import SOURCES

from .commands import DAMAGED, run
from .scored_shards import logged_source, without_ray
from .test_data_cache import SIZE, chests, noted_reads, only_place
from .test_data_zhanglab import fill

#: 240 images in blocks of 64.
BLOCKS, COUNT = 4, 240


@pytest.fixture(autouse=True)
def shards(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Blocks as they are decoded, by this process, the last one first."""
    with without_ray(monkeypatch, backwards=True) as filled:
        yield filled


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return chests(tmp_path / "data")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths in the order in which they were decoded."""
    return noted_reads(monkeypatch)


def split(root: Path, seed: int = 0) -> SplitManifest:
    return plan_split("folder", root, seed=seed, progress=False)


def on_engine(root: Path, manifest: SplitManifest, cache: Path) -> CachedImages:
    return prepare_on_ray("folder", root, manifest, image_size=SIZE, cache=cache, progress=False)


def plain(root: Path, manifest: SplitManifest, cache: Path) -> CachedImages:
    return prepare("folder", root, manifest, image_size=SIZE, cache=cache, progress=False)


def files_of(cache: Path) -> dict[str, bytes]:
    """All files below a cache folder."""
    return {
        str(file.relative_to(cache)): file.read_bytes() for file in sorted(cache.rglob("*")) if file.is_file()
    }


def assert_same(root: Path, manifest: SplitManifest, cache: Path) -> None:
    """The folder holds what the plain command would have written, and nothing else."""
    other = cache.with_name(f"{cache.name}-plain")
    plain(root, manifest, other)
    assert files_of(cache) == files_of(other)
    assert {Path(name).name for name in files_of(cache)} == {".lock", "images.npy", "index.json"}


class TestSameFiles:
    def test_to_the_byte(self, root: Path, tmp_path: Path, shards: list[int], decoded: list[str]) -> None:
        manifest, cache = split(root), tmp_path / "cache"
        cached = on_engine(root, manifest, cache)
        assert shards == [3, 2, 1, 0]
        assert (len(cached.paths), cached.decoded, cached.skipped) == (COUNT, COUNT, {})
        assert sorted(decoded) == sorted(entry.path for entry in manifest.entries)
        assert_same(root, manifest, cache)
        assert on_engine(root, manifest, cache).decoded == 0
        assert shards == [3, 2, 1, 0], "what is there is not asked for again"

    @pytest.mark.parametrize("relative", [False, True])
    def test_broken_files(
        self, relative: bool, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Reasons name the files as the plain command does, wherever the actors find them."""
        manifest, cache = split(root), tmp_path / "cache"
        (root / "normal" / "n003.png").write_bytes(DAMAGED)
        (root / "normal" / "n077.png").write_bytes(b"")
        (root / "abnormal" / "a001.png").unlink()
        monkeypatch.chdir(tmp_path)
        folder = Path("data") if relative else root
        cached = on_engine(folder, manifest, cache)
        assert (len(cached.paths), len(cached.skipped)) == (COUNT - 3, 3)
        assert cached.skipped["abnormal/a001.png"] == f"{folder}/abnormal/a001.png: the file does not exist."
        assert_same(folder, manifest, cache)

    def test_a_name_that_is_no_text(self, root: Path, tmp_path: Path) -> None:
        for name in ("odd\udcff.png", "odd\udcfe.png"):
            (root / "normal" / name).write_bytes((root / "normal" / "n000.png").read_bytes())
        (root / "normal" / "odd\udcfe.png").write_bytes(DAMAGED)
        manifest = split(root)
        on_engine(root, manifest, tmp_path / "cache")
        assert_same(root, manifest, tmp_path / "cache")

    def test_phantoms(self, tmp_path: Path) -> None:
        """Which are made by code, from the split's seed."""
        manifest = plan_split("demo", seed=3, train_size=3, validation_size=2, test_size=2)
        for prepared, cache in ((prepare_on_ray, "cache"), (prepare, "plain")):
            prepared("demo", None, manifest, image_size=16, cache=tmp_path / cache, progress=False)
        assert files_of(tmp_path / "cache") == files_of(tmp_path / "plain")

    def test_another_split_copies_rows(self, root: Path, tmp_path: Path, shards: list[int]) -> None:
        """A file that changed is all that is decoded."""
        cache, other = tmp_path / "cache", split(root, seed=1)
        on_engine(root, split(root), cache)
        shards.clear()
        assert on_engine(root, other, cache).decoded == 0
        assert not shards
        fill(root / "normal", ["n007.png"])
        assert on_engine(root, other, cache).decoded == 1
        assert len(shards) == 1
        plain(root, other, tmp_path / "plain")
        name = only_place(tmp_path / "plain").name
        assert files_of(cache / name) == files_of(tmp_path / "plain" / name)

    def test_notes_of_headers_are_warnings_of_this_process(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = SOURCES["folder"]

        def noted(folder: Path, manifest: Any, entry: Any, size: int) -> Any:
            if entry.path == "normal/n003.png":
                warnings.warn(f"{folder / entry.path}: WindowWidth is empty.", ImageReadWarning, stacklevel=1)
            warnings.warn("DOE^JANE", UserWarning, stacklevel=1)
            return source.read(folder, manifest, entry, size)

        monkeypatch.setitem(SOURCES, "folder", dataclasses.replace(source, read=noted))
        told: list[str] = []
        # The actors' own silence is this process's here, so that what is said after them is taken before.
        stand_in = types.SimpleNamespace(warn=lambda message, *_, **__: told.append(message))
        monkeypatch.setattr("anatpaste_gpu.cluster.prepare.warnings", stand_in)
        on_engine(root, split(root), tmp_path / "cache")
        assert told == [f"{root}/normal/n003.png: WindowWidth is empty."]


class TestInterruption:
    def stopped(self, root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
        """A command that was stopped when so many blocks were decoded."""
        original, calls = BlockDecoder._fill, []

        def stop(self: BlockDecoder, *args: Any) -> Any:
            if len(calls) == after:
                raise KeyboardInterrupt
            calls.append(1)
            return original(self, *args)

        with monkeypatch.context() as patch:
            patch.setattr(BlockDecoder, "_fill", stop)
            with pytest.raises(KeyboardInterrupt):
                on_engine(root, split(root), cache)

    def test_the_same_command_goes_on(
        self,
        root: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        shards: list[int],
        decoded: list[str],
    ) -> None:
        cache = tmp_path / "cache"
        self.stopped(root, cache, monkeypatch, after=2)
        parts = only_place(cache) / "parts"
        left = {"_entries.parquet", "part-000003.parquet", "part-000002.parquet"}
        assert {file.name for file in parts.iterdir()} == left
        (parts / ".part-000001.parquet.x").write_text("cut off")
        cached = on_engine(root, split(root), cache)
        assert shards == [3, 2, 1, 1, 0]
        assert cached.decoded == 2 * 64, "two parts were found"
        assert len(decoded) == len(set(decoded)) == COUNT
        assert_same(root, split(root), cache)

    def test_the_plain_command_goes_on(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache = tmp_path / "cache"
        self.stopped(root, cache, monkeypatch, after=2)
        assert plain(root, split(root), cache).decoded == COUNT
        assert_same(root, split(root), cache)

    def test_the_plain_command_is_gone_on_from(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards: list[int]
    ) -> None:
        from anatpaste_gpu.data.cache_files import PartialImages

        append, calls = PartialImages.append, []

        def stop_at_the_third(self: PartialImages, *args: Any) -> None:
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            append(self, *args)

        cache = tmp_path / "cache"
        with monkeypatch.context() as patch:
            patch.setattr(PartialImages, "append", stop_at_the_third)
            with pytest.raises(KeyboardInterrupt):
                plain(root, split(root), cache)
        assert on_engine(root, split(root), cache).decoded == COUNT - 2 * 64
        assert shards == [3, 2]
        assert_same(root, split(root), cache)

    def test_a_changed_file_costs_its_block(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards: list[int]
    ) -> None:
        cache, manifest = tmp_path / "cache", split(root)
        self.stopped(root, cache, monkeypatch, after=2)
        in_the_last = manifest.split("test")[-1].path
        fill(root, [in_the_last])
        on_engine(root, manifest, cache)
        assert shards == [3, 2, 1, 3, 1, 0]
        assert_same(root, manifest, cache)

    def test_a_part_whose_bits_flipped_is_not_trusted(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache = tmp_path / "cache"
        self.stopped(root, cache, monkeypatch, after=2)
        part = only_place(cache) / "parts" / "part-000002.parquet"
        content = bytearray(part.read_bytes())
        content[1000] ^= 4  # within the images, which come first
        part.write_bytes(content)
        sentence = rf"^{part} was damaged and is removed; the same command goes on\.$"
        with pytest.raises(DatasetError, match=sentence):
            on_engine(root, split(root), cache)
        on_engine(root, split(root), cache)
        assert_same(root, split(root), cache)

    def test_a_deadly_file_is_skipped(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Two processes died at it, as their notes say."""
        tries = "".join(f"{place:>10}\n" for place in (-1, 5, 5))
        write_entries = prepare_module._write_entries

        # Before this an earlier command's notes are swept.
        def with_tries(folder: Path, missing: Any) -> Any:
            (folder / ".tries-000001").write_text(tries)
            return write_entries(folder, missing)

        monkeypatch.setattr(prepare_module, "_write_entries", with_tries)
        cached = on_engine(root, split(root), tmp_path / "cache")
        path = split(root).entries[64 + 5].path
        assert cached.skipped == {path: f"{root / path}: the process that read it died, twice."}
        assert len(cached.paths) == COUNT - 1

    def test_a_process_that_is_killed_costs_its_block(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each try of a block by a process of its own, one of which gets SIGKILL after 20 images."""
        log, deadly = tmp_path / "log", 2
        killed: list[int] = []

        def by_processes(work: DecodeWork, asked: list[int], pool: Any) -> Iterator[Done]:
            for shard in asked:
                doomed = shard == deadly
                while not in_child(work, shard, log if doomed and not killed else None, killed):
                    pass
                part = work.worker()(shard)
                assert not part.failure
                yield part

        engine = sys.modules["anatpaste_gpu.cluster.on_ray"]
        monkeypatch.setattr(engine, "finished_shards", by_processes)
        monkeypatch.setitem(SOURCES, "folder", logged_source(log))
        cache, manifest = tmp_path / "cache", split(root)
        assert on_engine(root, manifest, cache).decoded == COUNT
        lines = [line.split(" ", 1) for line in log.read_text().splitlines()]
        assert len(killed) == 1
        twice = [path for path, count in Counter(path for _, path in lines).items() if count == 2]
        assert twice == [path for process, path in lines if int(process) == killed[0]]
        assert 20 <= len(twice) < 64
        assert set(twice) <= {entry.path for entry in manifest.entries[deadly * 64 : (deadly + 1) * 64]}
        assert len(lines) == COUNT + len(twice)
        assert_same(root, manifest, cache)


def in_child(work: DecodeWork, shard: int, kill_by: Path | None, killed: list[int]) -> bool:
    """Whether a process of its own filled a shard; it is killed when a log has 20 lines of it."""
    process = os.fork()
    if not process:
        failed = True
        try:
            failed = bool(work.worker()(shard).failure)
        finally:  # whatever it was, this is no process that tests
            os._exit(failed)
    while kill_by is not None and not killed:
        time.sleep(0.005)
        if kill_by.exists() and kill_by.read_text().count(f"{process} ") >= 20:
            os.kill(process, signal.SIGKILL)
            killed.append(process)
    return os.waitpid(process, 0)[1] == 0


class TestFailures:
    def failure(self, root: Path, folder: Path, **changes: Any) -> str:
        """Of the first block that an actor is asked for."""
        work = DecodeWork(str(folder), str(root), SOURCES["folder"], "folder", 0, SIZE, "origin", 1)
        return BlockDecoder(dataclasses.replace(work, **changes))(0).failure

    def test_sentences(self, root: Path, tmp_path: Path) -> None:
        assert ", expected 0.0." in self.failure(root, tmp_path, version="0.0")
        said = self.failure(root, tmp_path, readers="pillow 1")
        assert said.endswith(", expected pillow 1.")
        assert " decodes with pillow " in said
        assert self.failure(tmp_path / "gone", tmp_path).endswith(f" has no folder {tmp_path / 'gone'}.")

    def test_a_fault_ends_the_command(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As it ends the plain command: it is no broken file."""

        def fail(*_: Any) -> None:
            raise RuntimeError("out of luck")

        monkeypatch.setitem(SOURCES, "folder", dataclasses.replace(SOURCES["folder"], read=fail))
        with pytest.raises(DatasetError, match=r"^out of luck; finished blocks are kept\.$"):
            on_engine(root, split(root), tmp_path / "cache")

    def test_a_full_disk_ends_the_command(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(parts, "write_atomically", full)
        sentence = r"/parts cannot be written: No space left on device; finished blocks are kept\.$"
        with pytest.raises(DatasetError, match=sentence):
            on_engine(root, split(root), tmp_path / "cache")

    def test_what_ray_cannot_do_is_not_blamed_on_the_cache(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def nowhere(*_: Any) -> Any:
            raise OSError("no Ray cluster can be reached at there (gone).")

        monkeypatch.setattr(sys.modules["anatpaste_gpu.cluster.on_ray"], "connected", nowhere)
        with pytest.raises(DatasetError, match=r"^no Ray cluster can be reached at there \(gone\)\.$"):
            on_engine(root, split(root), tmp_path / "cache")


class TestCommand:
    def test_done(self, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = ("prepare", "--dataset", "folder", "--data-root", root, "--image-size", str(SIZE))
        (root / "normal" / "n003.png").write_bytes(DAMAGED)
        for _ in range(2):
            assert run(*words, "--cache", tmp_path / "cache", "--engine", "ray", "--workers", "2") == 3
        said = capsys.readouterr()
        assert f": {COUNT - 1} decoded, the others found there, in " in said.out
        assert ": 0 decoded, the others found there, in " in said.out
        assert f"skipped: {root}/normal/n003.png: truncated or damaged" in said.err
        assert_same(root, split(root), tmp_path / "cache")

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (("--address", "auto"), "--address goes with --engine."),
            (("--engine", "ray"), "--engine ray needs --cache, a folder."),
            (("--engine", "ray", "--cache", "c", "--workers", "0"), "workers must be at least 1, got 0."),
        ],
    )
    def test_options(
        self,
        words: tuple[str, ...],
        sentence: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert run("prepare", "--dataset", "demo", *words) == 1
        assert capsys.readouterr().err == f"anatpaste prepare: {sentence}\n"
        assert not any(tmp_path.iterdir())

    def test_an_engine_that_is_not_there_is_no_choice(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            run("prepare", "--dataset", "demo", "--engine", "spark")
        assert ended.value.code == 2
        assert "argument --engine: invalid choice: 'spark'" in capsys.readouterr().err

    def test_without_ray(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from anatpaste_gpu.extras import MissingExtra

        def missing(feature: str, extra: str) -> None:
            raise MissingExtra(f"{feature} needs {extra}.")

        monkeypatch.setattr("anatpaste_gpu.cli.prepare.require", missing)
        words = ("--engine", "ray", "--cache", tmp_path / "cache")
        assert run("prepare", "--dataset", "demo", *words) == 2
        assert "--engine ray needs ray." in capsys.readouterr().err
        assert not (tmp_path / "cache").exists()
