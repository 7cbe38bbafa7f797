"""What file systems hold: images without suffixes, links, folders that may not be read, other files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from anatpaste_gpu.data import DatasetError, ImageReadError, discover_images, find_images, read_image
from anatpaste_gpu.data.discovery import image_kind, is_dicom, without_suffix
from anatpaste_gpu.data.image_folder import plan

from .test_data_dicom import RAMP8, make, save
from .test_data_zhanglab import fill


def found(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_images(folder)]


def without_preamble(path: Path, implicit: bool, with_meta: bool = False) -> Path:
    """A file that begins with its first element."""
    dataset = make(RAMP8, ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian, Modality="DX")
    if not with_meta:
        del dataset.file_meta
    with path.open("wb") as file:
        options = {} if with_meta else {"implicit_vr": implicit, "little_endian": True}
        pydicom.dcmwrite(file, dataset, enforce_file_format=False, **options)
    assert path.read_bytes()[128:132] != b"DICM"
    return path


class TestNames:
    @pytest.mark.parametrize(
        "name", ["IM000001", "1.2.840.113619.2.1", "00000001.dcm30", "I.ima", "a.DCM", "b.Dicom", "x.2024-01"]
    )
    def test_dicom_by_any_name(self, tmp_path: Path, name: str) -> None:
        save(tmp_path / name, make(RAMP8))
        assert found(tmp_path) == [name]
        assert is_dicom(tmp_path / name)
        assert np.array_equal(read_image(tmp_path / name, 40)[0].numpy(), RAMP8)

    @pytest.mark.parametrize("name", ["a.PNG", "b.JpG", "c.JPEG", "scan", "scan.v2", "x.jfif", "1.2.3"])
    def test_pictures_by_any_name(self, tmp_path: Path, name: str) -> None:
        kind = "JPEG" if name.lower().endswith(("g", "jfif")) and not name.endswith("PNG") else "PNG"
        Image.fromarray(RAMP8).save(tmp_path / name, kind)
        assert found(tmp_path) == [name]
        assert not is_dicom(tmp_path / name)

    @pytest.mark.parametrize("implicit", [True, False])
    @pytest.mark.parametrize("with_meta", [True, False])
    @pytest.mark.parametrize("name", ["RADIOGRAPH", "1.2.840.1"])
    def test_neither_suffix_nor_preamble(
        self, tmp_path: Path, implicit: bool, with_meta: bool, name: str
    ) -> None:
        path = without_preamble(tmp_path / name, implicit, with_meta)
        assert find_images(tmp_path) == [path]
        assert image_kind(path.read_bytes()) == "dicom"

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\x08\x00",
            b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100",  # one element is not enough to go by
            b"\x08\x00\x08\x00\x08\x00\x08\x00" * 9,  # tags do not ascend
            b"\x08\x00\x05\x00\xff\xff\xff\x7f" + bytes(40),
            b"\x02\x00\x05\x00\x04\x00\x00\x00abcd\x02\x00\x06\x00\x04\x00\x00\x00abcd",  # meta is explicit
            b"PK\x03\x04" + bytes(200),
            b"patientId,class\n" * 20,
            bytes(1024),
        ],
    )
    def test_other_content_is_no_image(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "IM000001").write_bytes(content)
        assert find_images(tmp_path) == []
        assert image_kind(content) is None

    def test_the_directory_of_a_cd_is_no_image(self, tmp_path: Path) -> None:
        dataset = make(RAMP8, SOPClassUID=pydicom.uid.MediaStorageDirectoryStorage)
        save(tmp_path / "DICOMDIR", dataset)
        save(tmp_path / "IM1", make(RAMP8))
        assert found(tmp_path) == ["IM1"]

    @pytest.mark.parametrize(
        ("name", "stem"),
        [
            ("1.2.840.1", "1.2.840.1"),
            ("1.2.840.1.dcm", "1.2.840.1"),
            ("a/b.c/x.PNG", "a/b.c/x"),
            ("scan.v2", "scan.v2"),
            ("x.dicom", "x"),
        ],
    )
    def test_a_uid_has_no_suffix(self, name: str, stem: str) -> None:
        assert without_suffix(name) == stem


class TestOtherFiles:
    def test_they_are_counted_by_suffix(self, tmp_path: Path) -> None:
        fill(tmp_path, ["a.png"])
        for name in ("b.tif", "c.TIF", "notes.txt", "LICENSE", "2024.01", ".hidden", "Thumbs.db"):
            (tmp_path / name).write_bytes(b"text")
        (tmp_path / "@eaDir").mkdir()
        fill(tmp_path / "@eaDir", ["thumbnail.jpg"])
        looked = discover_images(tmp_path)
        assert [path.name for path in looked.files] == ["a.png"]
        assert looked.notes() == [
            f"{tmp_path}: left out what is no PNG, JPEG or DICOM file: 2 .tif, 2 without a suffix, 1 .txt."
        ]
        assert not looked.unread

    def test_a_folder_without_images_says_what_is_there(self, tmp_path: Path) -> None:
        assert (
            discover_images(tmp_path).why_empty() == f"{tmp_path}: no PNG, JPEG or DICOM file in this folder."
        )
        (tmp_path / "scan.nii").touch()
        assert discover_images(tmp_path).why_empty().endswith("in this folder (but 1 .nii).")

    def test_pipes_and_dangling_links_are_named_and_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.png")
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "gone.png").symlink_to(tmp_path / "nothing")
        looked = discover_images(tmp_path)
        assert looked.files == ()
        assert set(looked.unread) == {
            f"{tmp_path / 'gone.png'}: it links to nothing.",
            f"{tmp_path / 'pipe'}: it is no regular file.",
            f"{tmp_path / 'pipe.png'}: it is no regular file.",
        }

    def test_what_may_not_be_read_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """By a system call that refuses, for the tests may run as somebody who may read everything."""
        fill(tmp_path / "open", ["a.png"])
        fill(tmp_path / "closed", ["b.png"])
        fill(tmp_path / "open", ["closed.png"])
        (tmp_path / "open" / "closed.png").rename(tmp_path / "open" / "IM1")
        scandir, open_file = os.scandir, Path.open

        def refuse_folder(place: Path) -> object:
            if Path(place).name == "closed":
                raise PermissionError(13, "Permission denied")
            return scandir(place)

        def refuse_file(path: Path, *words: object, **more: object) -> object:
            if path.name == "IM1":
                raise PermissionError(13, "Permission denied")
            return open_file(path, *words, **more)

        monkeypatch.setattr(os, "scandir", refuse_folder)
        monkeypatch.setattr(Path, "open", refuse_file)
        looked = discover_images(tmp_path)
        assert [path.name for path in looked.files] == ["a.png"]
        assert sorted(looked.unread) == [
            f"{tmp_path / 'closed'}: the folder cannot be read (Permission denied).",
            f"{tmp_path / 'open' / 'IM1'}: it cannot be opened (Permission denied).",
        ]

    def test_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ImageReadError, match="expected a folder of images, but there is no such folder"):
            discover_images(tmp_path / "none")


class TestLinks:
    def test_linked_folders_and_files_are_followed(self, tmp_path: Path) -> None:
        fill(tmp_path / "store" / "deep", ["a.png", "b.png"])
        fill(tmp_path / "root", ["own.png"])
        (tmp_path / "root" / "site").symlink_to(tmp_path / "store")
        (tmp_path / "root" / "one.png").symlink_to(tmp_path / "store" / "deep" / "a.png")
        (tmp_path / "link").symlink_to(tmp_path / "root")
        expected = ["one.png", "own.png", "site/deep/a.png", "site/deep/b.png"]
        assert found(tmp_path / "root") == expected
        assert found(tmp_path / "link") == expected

    @pytest.mark.parametrize("target", [".", "..", "../.."])
    def test_a_link_to_a_folder_that_holds_it_is_not_followed(self, tmp_path: Path, target: str) -> None:
        """`normal/up -> ..` would make normal images of all abnormal ones."""
        fill(tmp_path / "data" / "normal", ["a.png"])
        fill(tmp_path / "data" / "sick", ["b.png"])
        (tmp_path / "data" / "normal" / "up").symlink_to(target)
        looked = discover_images(tmp_path / "data" / "normal")
        assert [path.name for path in looked.files] == ["a.png"]
        assert [note.split(" links back to ")[0] for note in looked.notes()] == [
            str(tmp_path / "data" / "normal" / "up")
        ]

    def test_links_in_a_ring_end(self, tmp_path: Path) -> None:
        for name, other in (("a", "b"), ("b", "c"), ("c", "a")):
            fill(tmp_path / "store" / name, [f"{name}.png"])
            (tmp_path / "store" / name / "next").symlink_to(tmp_path / "store" / other)
        (tmp_path / "root").mkdir()
        (tmp_path / "root" / "start").symlink_to(tmp_path / "store" / "a")
        assert found(tmp_path / "root") == ["start/a.png", "start/next/b.png", "start/next/next/c.png"]

    def test_a_link_to_itself_is_named(self, tmp_path: Path) -> None:
        fill(tmp_path, ["a.png"])
        (tmp_path / "loop").symlink_to("loop")
        looked = discover_images(tmp_path)
        assert [path.name for path in looked.files] == ["a.png"]
        assert len(looked.unread) == 1
        assert "loop" in looked.unread[0]

    def test_no_image_is_found_twice(self, tmp_path: Path) -> None:
        fill(tmp_path / "z" / "deep", ["a.png"])
        (tmp_path / "a_link").symlink_to("z")
        (tmp_path / "b_link").symlink_to("z/deep")
        assert found(tmp_path) == ["z/deep/a.png"]


class TestDataset:
    @pytest.mark.parametrize("target", [".", "..", "../"])
    def test_a_link_to_the_set_itself_is_no_class(self, tmp_path: Path, target: str) -> None:
        root = self.sets(tmp_path / "data")
        before = plan(root, 0, progress=False)
        (root / "all").symlink_to(target)
        assert plan(root, 0, progress=False) == before

    @pytest.mark.parametrize("target", ["normal", "sick"])
    def test_one_folder_under_two_names_is_two_classes_in_one(self, tmp_path: Path, target: str) -> None:
        root = self.sets(tmp_path)
        (root / "other").symlink_to(target)
        with pytest.raises(DatasetError, match=r"0\.png are one file by a link, in two classes of "):
            plan(root, 0, progress=False)

    def test_one_file_under_two_names_is_in_one_split(self, tmp_path: Path) -> None:
        root = self.sets(tmp_path)
        before = plan(root, 0, progress=False)
        for i in range(8):
            (root / "normal" / f"link{i}.png").symlink_to(f"{i}.png")
        after = plan(root, 0, progress=False)
        assert after.entries == before.entries
        assert "8 names are links to images of the same class and are left out." in after.notes

    def sets(self, root: Path) -> Path:
        fill(root / "normal", [f"{i}.png" for i in range(8)])
        fill(root / "sick", [f"{i}.png" for i in range(4)])
        return root

    def test_what_is_left_out_is_in_the_notes(self, tmp_path: Path) -> None:
        root = self.sets(tmp_path)
        fill(root, ["loose.png"])
        (root / "normal" / "x.tif").touch()
        notes = plan(root, 0, progress=False).notes
        assert "1 images beside the class folders are left out." in notes
        assert "normal: left out what is no PNG, JPEG or DICOM file: 1 .tif." in notes

    def test_an_empty_class_says_what_was_found(self, tmp_path: Path) -> None:
        root = self.sets(tmp_path)
        shutil.rmtree(root / "normal")
        (root / "normal").mkdir()
        for i in range(3):
            (root / "normal" / f"{i}.nii").touch()
        with pytest.raises(DatasetError, match=r"no folder with normal images in .*: 3 \.nii\. Its folder"):
            plan(root, 0, progress=False)

    def test_dicom_without_suffixes_is_a_data_set(self, tmp_path: Path) -> None:
        for kind, count in (("normal", 8), ("sick", 4)):
            (tmp_path / kind).mkdir()
            for i in range(count):
                dataset = make(RAMP8, Modality="DX", ViewPosition="PA", PatientID=f"{kind}{i}")
                save(tmp_path / kind / f"1.2.840.{i}", dataset)
        manifest = plan(tmp_path, 0, progress=False)
        assert len(manifest.entries) == 12
        assert "By their DICOM headers: 12 PA radiographs; none is left out for that." in manifest.notes
