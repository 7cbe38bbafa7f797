"""The prepare cache: the same images as without it, decoded once, and never half of anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anatpaste_gpu.data import DatasetError, DatasetSplits, cache_files, load_dataset, plan_split, prepare
from anatpaste_gpu.data.registry import SOURCES
from dev import REPOSITORY

from .conftest import part_of
from .test_data_zhanglab import fill

SIZE = 16


def chests(root: Path) -> Path:
    """A folder set of which 240 images are used, four blocks; neighbours differ."""
    for folder, count in (("normal", 160), ("abnormal", 80)):
        (root / folder).mkdir(parents=True)
        for i in range(count):
            pixels = np.full((20, 20), (i * 7 + count) % 256, np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{folder[0]}{i:03d}.png")
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return chests(tmp_path / "data")


def load(root: Path, cache: Path | None, **options: object) -> DatasetSplits:
    options = {"image_size": SIZE, "progress": False} | options
    return load_dataset("folder", root, cache=cache, **options)  # type: ignore[arg-type]


def assert_same(a: DatasetSplits, b: DatasetSplits) -> None:
    assert a.manifest == b.manifest
    assert a.skipped == b.skipped
    for name in ("train", "validation", "test"):
        one, other = getattr(a, name), getattr(b, name)
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
        assert (one.names, one.findings) == (other.names, other.findings)


def noted_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths in the order in which they are decoded from now on."""
    import dataclasses

    seen: list[str] = []
    source = SOURCES["folder"]

    def read(root, manifest, entry, size):  # type: ignore[no-untyped-def]
        seen.append(entry.path)
        return source.read(root, manifest, entry, size)

    monkeypatch.setitem(SOURCES, "folder", dataclasses.replace(source, read=read))
    return seen


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths in the order in which they were decoded."""
    return noted_reads(monkeypatch)


def only_place(cache: Path) -> Path:
    (place,) = cache.iterdir()
    return place


class TestResult:
    def test_equals_loading_into_memory(self, root: Path, tmp_path: Path, decoded: list[str]) -> None:
        plain = load(root, None)
        decoded.clear()
        assert_same(load(root, tmp_path / "cache"), plain)
        assert len(decoded) == 240
        assert_same(load(root, tmp_path / "cache"), plain)
        assert len(decoded) == 240, "the second time nothing is decoded"

    def test_images_are_mapped_and_writing_to_them_changes_no_file(self, root: Path, tmp_path: Path) -> None:
        splits = load(root, tmp_path / "cache")
        file = only_place(tmp_path / "cache") / "images.npy"
        before = file.read_bytes()
        assert str(file) in Path("/proc/self/maps").read_text()
        splits.train.images.add_(1)
        assert file.read_bytes() == before

    def test_file_is_a_plain_numpy_array(self, root: Path, tmp_path: Path) -> None:
        splits = load(root, tmp_path / "cache")
        array = np.load(only_place(tmp_path / "cache") / "images.npy", mmap_mode="r")
        everything = torch.cat([splits.train.images, splits.validation.images, splits.test.images])
        assert np.array_equal(array, everything[:, 0].numpy())

    def test_real_radiographs(self, real_data: Path, tmp_path: Path) -> None:
        options = {"image_size": 32, "progress": False}
        plain = load_dataset("rsna", part_of(real_data, "rsna"), **options)
        assert_same(load_dataset("rsna", part_of(real_data, "rsna"), cache=tmp_path, **options), plain)

    def test_demo_of_another_seed_is_not_mixed_up(self, tmp_path: Path) -> None:
        sizes = {"train_size": 3, "validation_size": 2, "test_size": 2, "image_size": 16, "progress": False}
        for seed in (0, 1, 0):
            plain = load_dataset("demo", seed=seed, **sizes)
            assert_same(load_dataset("demo", seed=seed, cache=tmp_path, **sizes), plain)

    def test_no_cache_writes_nothing(self, root: Path, tmp_path: Path) -> None:
        before = sorted(tmp_path.rglob("*"))
        load(root, None)
        assert sorted(tmp_path.rglob("*")) == before


class TestChanges:
    def test_changed_file_alone_is_decoded_again(
        self, root: Path, tmp_path: Path, decoded: list[str]
    ) -> None:
        load(root, tmp_path / "cache")
        decoded.clear()
        fill(root / "normal", ["n007.png"])
        os.utime(root / "normal" / "n007.png", ns=(1, 1))
        again = load(root, tmp_path / "cache")
        assert decoded == ["normal/n007.png"]
        assert_same(again, load(root, None))

    def test_another_split_copies_rows(self, root: Path, tmp_path: Path, decoded: list[str]) -> None:
        load(root, tmp_path / "cache", seed=0)
        decoded.clear()
        other = load(root, tmp_path / "cache", seed=1)
        assert not decoded
        assert_same(other, load(root, None, seed=1))

    def test_another_size_or_folder_is_another_cache(self, root: Path, tmp_path: Path) -> None:
        chests(tmp_path / "twin")
        for folder, size in ((root, 16), (root, 17), (tmp_path / "twin", 16)):
            load(folder, tmp_path / "cache", image_size=size)
        assert len(list((tmp_path / "cache").iterdir())) == 3

    def test_corrupt_files_are_listed_and_tried_again_when_they_change(
        self, root: Path, tmp_path: Path, decoded: list[str]
    ) -> None:
        broken = root / "normal" / "n005.png"
        good = broken.read_bytes()
        broken.write_bytes(good[:50])
        (root / "abnormal" / "a003.png").write_bytes(b"")
        plain = load(root, None)
        assert len(plain.skipped) == 2
        for _ in range(2):
            assert_same(load(root, tmp_path / "cache"), plain)
        decoded.clear()
        broken.write_bytes(good)
        assert_same(load(root, tmp_path / "cache"), load(root, None))
        assert decoded[:2] == ["abnormal/a003.png", "normal/n005.png"], "what is still corrupt is tried again"

    def test_a_file_that_is_gone_is_skipped(self, root: Path, tmp_path: Path) -> None:
        manifest = load(root, tmp_path / "cache").manifest
        (root / "normal" / "n001.png").unlink()
        again = load(root, tmp_path / "cache", manifest=manifest)
        assert [file.name for file in again.skipped] == ["normal/n001.png"]
        assert_same(again, load(root, None, manifest=manifest))


def prepared(root: Path, cache: Path) -> DatasetSplits:
    """The set in memory; what is mapped from a file would change with it."""
    load(root, cache)
    return load(root, None)


class TestDamage:
    def test_flipped_bit_is_noticed_and_only_its_block_decoded(
        self, root: Path, tmp_path: Path, decoded: list[str]
    ) -> None:
        plain = prepared(root, tmp_path / "cache")
        decoded.clear()
        file = only_place(tmp_path / "cache") / "images.npy"
        content = bytearray(file.read_bytes())
        content[128 + 70 * SIZE * SIZE] ^= 4  # in the second block
        file.write_bytes(content)
        assert_same(load(root, tmp_path / "cache"), plain)
        assert len(decoded) == cache_files.BLOCK

    @pytest.mark.parametrize("keep", [0, 100, 128, 5000])
    def test_cut_off_images(self, root: Path, tmp_path: Path, keep: int) -> None:
        plain = prepared(root, tmp_path / "cache")
        file = only_place(tmp_path / "cache") / "images.npy"
        file.write_bytes(file.read_bytes()[:keep])
        assert_same(load(root, tmp_path / "cache"), plain)

    @pytest.mark.parametrize(
        "text",
        ["", "{", "[]", '{"format": "anatpaste-cache-2"}', '{"format": "anatpaste-cache-2", "blocks": 7}'],
    )
    def test_damaged_index(self, root: Path, tmp_path: Path, text: str) -> None:
        plain = prepared(root, tmp_path / "cache")
        (only_place(tmp_path / "cache") / "index.json").write_text(text)
        assert_same(load(root, tmp_path / "cache"), plain)

    def test_index_with_odd_blocks(self, root: Path, tmp_path: Path) -> None:
        plain = prepared(root, tmp_path / "cache")
        index = only_place(tmp_path / "cache") / "index.json"
        content = json.loads(index.read_text())
        content["blocks"][0]["rows"][0][1] = "many"
        index.write_text(json.dumps(content))
        assert_same(load(root, tmp_path / "cache"), plain)


class TestInterruption:
    def test_goes_on_where_it_stopped(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
    ) -> None:
        append, calls = cache_files.PartialImages.append, []

        def stop_at_the_third(self, *args):  # type: ignore[no-untyped-def]
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            append(self, *args)

        with monkeypatch.context() as patch:
            patch.setattr(cache_files.PartialImages, "append", stop_at_the_third)
            with pytest.raises(KeyboardInterrupt):
                load(root, tmp_path / "cache", workers=1)
        place = only_place(tmp_path / "cache")
        assert not (place / "images.npy").exists()
        assert not (place / "index.json").exists()
        # A torn end of both files, as a power cut leaves it.
        with (place / "images.partial").open("ab") as images, (place / "journal.jsonl").open("a") as journal:
            images.write(b"torn")
            journal.write('{"rows": [["normal')
        decoded.clear()
        assert_same(load(root, tmp_path / "cache"), load(root, None))
        assert len(decoded) == 112 + 240, "two blocks of 64 were there; the rest, and all for the comparison"
        assert sorted(path.name for path in place.iterdir()) == [".lock", "images.npy", "index.json"]

    def test_damaged_partial_is_not_trusted(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(cache_files.PartialImages, "finish", lambda self, origin: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                load(root, tmp_path / "cache")
        partial = only_place(tmp_path / "cache") / "images.partial"
        content = bytearray(partial.read_bytes())
        content[128 + 65 * SIZE * SIZE] ^= 1
        partial.write_bytes(content)
        assert_same(load(root, tmp_path / "cache"), load(root, None))

    @pytest.mark.slow
    def test_killed_at_random_moments(self, tmp_path: Path) -> None:
        root = chests(tmp_path / "data")
        program = textwrap.dedent(f"""
            import time
            from anatpaste_gpu.data import load_dataset, registry
            import dataclasses
            source = registry.SOURCES["folder"]
            def slow(*args):
                time.sleep(0.004)
                return source.read(*args)
            registry.SOURCES["folder"] = dataclasses.replace(source, read=slow)
            print("go", flush=True)
            load_dataset("folder", {str(root)!r}, image_size=16, cache={str(tmp_path / "cache")!r}, workers=1)
        """)
        for pause in (0.05, 0.3, 0.45):
            child = subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY, stdout=subprocess.PIPE)
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(pause)
            child.kill()
            child.communicate()
        assert_same(load(root, tmp_path / "cache"), load(root, None))


def test_one_writer_at_a_time(
    root: Path, tmp_path: Path, decoded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Threads, as good as processes here: each call opens and locks the file by itself."""
    manifest = plan_split("folder", root)

    def run(_: int) -> int:
        options = {"image_size": SIZE, "cache": tmp_path / "cache", "progress": False}
        return prepare("folder", root, manifest, **options).decoded

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(run, range(3))) == [0, 0, 240], "the others find what the first prepared"
    assert len(decoded) == 240
    assert "Waiting for another process that prepares" in capsys.readouterr().err


def test_a_disk_without_room_is_said_before_anything_is_decoded(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(DatasetError, match="needs 0 MB more, but the disk has 0 MB left"):
        load(root, tmp_path / "cache")
    assert not decoded


def test_a_folder_that_cannot_be_made_is_named(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="cannot be written"):
        load(root, tmp_path / "file" / "cache")
