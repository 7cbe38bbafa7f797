"""Fixtures of the whole suite: backends and real radiographs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dev import REPOSITORY, backends


def data_root() -> Path | None:
    """Real radiographs: $ANATPASTE_DATA, then a folder shared/data beside the checkout."""
    candidates = [Path(os.environ[k]) for k in ("ANATPASTE_DATA",) if os.environ.get(k)]
    candidates.append(REPOSITORY.parent / "shared" / "data")
    return next((path for path in candidates if (path / "zhanglab").is_dir()), None)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with zhanglab/, rsna/ and index/; without it a test is skipped and says why."""
    root = data_root()
    if root is None:
        pytest.skip(
            "no real radiographs: set ANATPASTE_DATA to a folder that holds zhanglab/, rsna/ and index/"
        )
    return root


@pytest.fixture(params=backends.available())
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend that can run here in turn."""
    return str(request.param)


def zhanglab_normals(root: Path) -> list[Path]:
    """All 1,575 normal radiographs, train and test, in a fixed order."""
    folder = root / "zhanglab" / "chest_xray"
    return sorted(folder.glob("train/NORMAL/*.jpeg")) + sorted(folder.glob("test/NORMAL/*.jpeg"))


def rsna_files(root: Path) -> list[Path]:
    """All 360 DICOM radiographs, in a fixed order."""
    return sorted((root / "rsna" / "stage_2_train_images").glob("*.dcm"))


def read_grey(path: Path) -> Image.Image:
    """An image file as PIL 'L', by a route that shares no code with the package."""
    if path.suffix == ".dcm":
        import pydicom

        return Image.fromarray(pydicom.dcmread(path).pixel_array.astype(np.uint8))
    return Image.open(path).convert("L")


def load_batch(paths: Sequence[Path], height: int, width: int | None = None) -> torch.Tensor:
    """Files -> uint8 (B,1,H,W), resized by PIL bicubic."""
    size = (width or height, height)
    planes = [np.asarray(read_grey(path).resize(size, Image.Resampling.BICUBIC)) for path in paths]
    return torch.from_numpy(np.stack(planes))[:, None]


def two_hundred_radiographs(root: Path) -> Iterator[torch.Tensor]:
    """212 radiographs of both sets, uint8 (53,1,256,256) at a time."""
    paths = zhanglab_normals(root)[::10][:140] + rsna_files(root)[::5][:72]
    assert len(paths) == 212
    for begin in range(0, len(paths), 53):
        yield load_batch(paths[begin : begin + 53], 256)


@pytest.fixture(scope="session")
def radiographs(real_data: Path) -> torch.Tensor:
    """24 real radiographs of both sets, uint8 (24,1,256,256)."""
    normals, rsna = zhanglab_normals(real_data), rsna_files(real_data)
    return load_batch(normals[:: len(normals) // 15][:15] + rsna[:: len(rsna) // 9][:9], 256)


@pytest.fixture(scope="session")
def finished_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders of two small runs on phantoms, of two seeds, tested on the same images."""
    # Operator tests run on machines that lack what training needs.
    from anatpaste_gpu.data import load_dataset
    from anatpaste_gpu.training import TrainConfig, train

    sizes = {"train_size": 16, "validation_size": 6, "test_size": 12}
    splits = load_dataset("demo", image_size=32, seed=0, progress=False, **sizes)
    folders = [tmp_path_factory.mktemp("finished") / f"run{seed}" for seed in (0, 1)]
    for seed, folder in enumerate(folders):
        recipe = {"batch_size": 4, "epochs": 2, "steps_per_epoch": 2, "validate_every": 1}
        place = {"output": str(folder), "gpu": -1, "threads": 1, "bootstrap_samples": 100, "gallery_rows": 1}
        train(TrainConfig.of(seed=seed, image_size=32, **recipe, **place), splits=splits)
    return folders
