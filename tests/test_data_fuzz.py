"""Damaged files: each is read or refused in one sentence, without crash, hang, or anything half done."""

from __future__ import annotations

import faulthandler
import json
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLossless

from anatpaste_gpu.data import ImageReadError, ManifestEntry, SplitManifest, prepare, read_image
from anatpaste_gpu.data.streams import claimed_pixels
from dev import REPOSITORY, radiographs

from .mutations import dicom_bytes, mutated, whole_files
from .test_data_dicom import RAMP8, make

WHOLE = whole_files()
SIZE = 32
# A small file whose header was damaged may still be a picture of the largest size, in the widest pixels.
_MEMORY_MB = 1500
_SECONDS = 60


def check(path: Path) -> bool:
    """Whether the file was read; anything but an image or a one-line refusal is a failure."""
    try:
        image = read_image(path, SIZE)
    except ImageReadError as error:
        sentence = str(error)
        if not sentence.startswith(f"{path}: ") or "\n" in sentence:
            raise AssertionError(f"not one sentence on the file: {sentence!r}") from error
        return False
    assert image.shape == (1, SIZE, SIZE)
    assert image.dtype == torch.uint8
    return True


@pytest.mark.parametrize("name", WHOLE)
def test_whole_files_are_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(WHOLE[name])
    assert check(tmp_path / name)


@pytest.mark.filterwarnings("ignore")
@given(st.sampled_from(sorted(WHOLE)), st.integers(0, 2**32))
def test_damaged_files_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, seed: int
) -> None:
    path = tmp_path_factory.getbasetemp() / f"damaged-{name}"
    path.write_bytes(mutated(WHOLE[name], seed))
    check(path)


@pytest.mark.filterwarnings("ignore")
@given(st.binary(max_size=600), st.sampled_from(["x.dcm", "x.png"]), st.booleans())
def test_arbitrary_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str, as_dicom: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(bytes(128) + b"DICM" + content if as_dicom else content)
    check(path)


@pytest.mark.filterwarnings("ignore")
def test_cache_of_damaged_files_holds_the_readable_ones(tmp_path: Path) -> None:
    names = []
    for seed in range(12):
        for name, content in WHOLE.items():
            names.append(f"{seed:02d}-{name}")
            (tmp_path / names[-1]).write_bytes(mutated(content, seed))
    manifest = SplitManifest.build("zhanglab", 0, [ManifestEntry(name, 0, "train") for name in names])
    options = {"image_size": SIZE, "progress": False, "cache": tmp_path / "cache"}
    cached = prepare("zhanglab", tmp_path, manifest, **options)
    assert sorted([*cached.paths, *cached.skipped]) == sorted(names)
    assert 0 < len(cached.skipped) < len(names)
    for path, image in zip(cached.paths, cached.images, strict=True):
        assert np.array_equal(image, read_image(tmp_path / path, SIZE)[0].numpy())
    assert sorted(p.name for p in cached.place.iterdir()) == [".lock", "images.npy", "index.json"]


class TestFound:
    """What the mutations brought to light, one by one."""

    def test_grey_of_three_samples_came_out_in_colour(self, tmp_path: Path) -> None:
        dataset = make(np.stack([RAMP8] * 3, axis=2), PhotometricInterpretation="MONOCHROME2")
        (tmp_path / "x.dcm").write_bytes(dicom_bytes(dataset))
        with pytest.raises(ImageReadError, match="MONOCHROME2 needs SamplesPerPixel 1, got 3"):
            read_image(tmp_path / "x.dcm", SIZE)

    @pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLossless, JPEG2000Lossless])
    def test_streams_that_claim_gigabytes_are_not_decoded(self, tmp_path: Path, syntax: str) -> None:
        head = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc3\x00\x0b\x08\xff\xff\xff\xff\x01\x01\x11\x00"
        if syntax == JPEG2000Lossless:
            sides = b"".join(side.to_bytes(4, "big") for side in (100_000, 100_000, 0, 0))
            head = b"\xff\x4f\xff\x51\x00\x29\x00\x00" + sides + bytes(30)
        stream = encapsulate([head + bytes(200 + len(head) % 2)])
        (tmp_path / "x.dcm").write_bytes(dicom_bytes(make(RAMP8, syntax, PixelData=stream)))
        with pytest.raises(ImageReadError, match="the stream claims more than the 67108864 pixels allowed"):
            read_image(tmp_path / "x.dcm", SIZE)


@pytest.mark.parametrize(
    ("stream", "pixels"),
    [
        (b"", None),
        (b"\xff\xd8", None),
        (b"\xff\xd8\xff\xd9" + bytes(20), None),
        (b"\xff\xd8\xff\xff\xc0\x00\x0b\x08\x00\x10\x00\x20\x01\x00", 512),
        (b"\xff\xd8\xff\xc4\x00\x04ab\xff\xf7\x00\x0b\x08\x00\x02\x00\x03\x01\x00", 6),
        (
            b"jP  \xff\x4f\xff\x51\x00\x29\x00\x00" + bytes([0, 0, 0, 5, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2]),
            20,
        ),
        (b"\xff\x4f\xff\x51", None),
    ],
)
def test_claimed_pixels(stream: bytes, pixels: int | None) -> None:
    assert claimed_pixels(stream) == pixels


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 1000, 250))
def test_thousands_of_damaged_files(tmp_path: Path, first: int) -> None:
    """3,000 mutations each of small made files, 500 of real ones, in a process that may crash or hang."""
    words = [sys.executable, "-W", "ignore", "-m", "tests.test_data_fuzz", str(tmp_path), str(first), "250"]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["read"] > 0
    assert counts["refused"] > 0
    assert counts["memory_mb"] < _MEMORY_MB


def _run(folder: Path, first: int, count: int) -> None:
    """Mutates and reads; a hang ends the process with a traceback, a failed check with the seed."""
    warnings.simplefilter("ignore")
    files, root = dict(WHOLE), radiographs.data_root()
    if root is not None:
        sets = (radiographs.rsna_files(root), radiographs.zhanglab_normals(root))
        real = [paths[first % len(paths)] for paths in sets if paths]
        files |= {path.name: path.read_bytes() for path in real}
    before, counts, slowest = _peak_mb(), [0, 0], 0.0
    for seed in range(first, first + count):
        for name, content in files.items():
            path = folder / name
            path.write_bytes(mutated(content, seed))
            faulthandler.dump_traceback_later(_SECONDS, exit=True)
            start = time.process_time()
            try:
                counts[check(path)] += 1
            except BaseException as error:
                raise AssertionError(f"{name}, seed {seed}") from error
            slowest = max(slowest, time.process_time() - start)
    faulthandler.cancel_dump_traceback_later()
    report = {"refused": counts[0], "read": counts[1], "slowest_s": slowest, "memory_mb": _peak_mb() - before}
    print(json.dumps(report))


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    _run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
