"""Writing files whole: what a target may be, and that nothing is left behind."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from anatpaste_gpu.files import check_folder, check_writable, write_atomically


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "file")
    for content in ("first", "second"):
        check_writable(tmp_path / "link")
        write_atomically(tmp_path / "link", content)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "deep" / "file").read_text() == content
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file"]


def test_a_device_is_written_into_and_stays() -> None:
    check_writable(Path("/dev/null"))
    write_atomically(Path("/dev/null"), b"x")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(OSError, match="No space left"):
        write_atomically(Path("/dev/full"), b"x")
    assert Path("/dev/full").is_char_device()


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    check_writable(tmp_path / "pipe")
    write_atomically(tmp_path / "pipe", b"content")
    reader.join(10)
    assert got == [b"content"]
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("name", ["a" * 255, "ü" * 127, "\udcfc" * 255, ".x"])
def test_names_as_long_as_they_may_be(tmp_path: Path, name: str) -> None:
    check_writable(tmp_path / name)
    assert not list(tmp_path.iterdir())
    write_atomically(tmp_path / name, "text")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_text_with_bytes_of_file_names(tmp_path: Path) -> None:
    write_atomically(tmp_path / "names.csv", "M\udcfcller,ü\n")
    assert (tmp_path / "names.csv").read_bytes() == b"M\xfcller,\xc3\xbc\n"


@pytest.mark.parametrize("durable", [True, False])
def test_nothing_is_left_of_a_failed_write(
    tmp_path: Path, durable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("before")

    def fail(*paths: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", "after", durable=durable)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "before")]


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("none/file", "No such file or directory"),
        ("folder", "Is a directory"),
        ("file/x", "Not a directory"),
        ("a" * 256, "File name too long"),
    ],
)
def test_what_cannot_be_written_is_said_in_one_sentence(tmp_path: Path, place: str, reason: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OSError, match=f"{place} cannot be written: {reason}") as caught:
        check_writable(tmp_path / place)
    assert str(caught.value) == f"{tmp_path / place} cannot be written: {reason}."
    assert sorted(tmp_path.rglob("*")) == before


def test_folders_are_looked_at_and_not_made(tmp_path: Path) -> None:
    check_folder(tmp_path / "a" / "b")
    check_folder(tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    for place in ("file", "file/deeper"):
        with pytest.raises(OSError, match=f"{place} cannot be written: Not a directory"):
            check_folder(tmp_path / place)
