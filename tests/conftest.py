"""Fixtures of the whole suite: backends and real radiographs."""

from __future__ import annotations

import multiprocessing
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

import numpy as np
import pytest
import torch
from PIL import Image

from anatpaste_gpu import ops as ops  # registers what tests call by torch.ops.anatpaste
from dev import backends
from dev import radiographs as radiographs_here

if TYPE_CHECKING:
    from anatpaste_gpu.data import DatasetSplits


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("anatpaste_gpu")
    group.addoption(
        "--backend",
        choices=backends.ALL,
        help="only the tests that take the fixture `backend`, on this one",
    )
    group.addoption(
        "--skip-unimportable",
        action="store_true",
        help="skip test files that need a package which is not installed, by name",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each backend that can run here in turn, or the one that was asked for."""
    marks = metafunc.definition.iter_markers("parametrize")
    if "backend" in metafunc.fixturenames and not any("backend" in mark.args[0] for mark in marks):
        asked = metafunc.config.getoption("--backend")
        metafunc.parametrize("backend", [asked] if asked else backends.available(), indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--backend`, leaves the tests that run on that backend."""
    asked = config.getoption("--backend")
    if asked is None:
        return
    chosen = [item for item in items if runs_on(item) == asked]
    config.hook.pytest_deselected(items=[item for item in items if runs_on(item) != asked])
    items[:] = chosen


def runs_on(item: pytest.Item) -> str | None:
    """The backend that a test runs on, if it runs over the backends."""
    parameters = (
        item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    )
    return parameters.get("backend")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and backends.CUDA not in backends.available():
        pytest.skip("needs a GPU and the compiled CUDA kernels")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A machine that is borrowed for its GPU may lack packages that the operators' tests do not need."""
    report = yield
    excinfo = report.call.excinfo if report.call is not None else None
    cause = excinfo.value.__cause__ if excinfo is not None else None
    if collector.config.getoption("--skip-unimportable") and is_absent_package(cause):
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 0, f"Skipped: {cause.name} is not installed")
    return report


def is_absent_package(cause: BaseException | None) -> TypeGuard[ModuleNotFoundError]:
    """Whether a package of others is missing, rather than a module of ours."""
    ours = ("anatpaste_gpu", "bench", "dev", "tests")
    return isinstance(cause, ModuleNotFoundError) and str(cause.name).split(".")[0] not in ours


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    """The backend to test."""
    return str(request.param)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the parts of `dev.radiographs`; without any a test is skipped and says why."""
    root = radiographs_here.data_root()
    if root is None:
        pytest.skip(radiographs_here.NOWHERE)
    return root


def part_of(root: Path, part: str) -> Path:
    """A part's folder; where it is not whole, the test is skipped by what is missing."""
    if sentence := radiographs_here.missing(root, part):
        pytest.skip(sentence)
    return root / part


def zhanglab_normals(root: Path) -> list[Path]:
    """All 1,575 normal radiographs, train and test, in a fixed order, or a skip."""
    return radiographs_here.zhanglab_normals(part_of(root, "zhanglab").parent)


def rsna_files(root: Path) -> list[Path]:
    """All 360 DICOM radiographs, in a fixed order, or a skip."""
    return radiographs_here.rsna_files(part_of(root, "rsna").parent)


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


@pytest.fixture(scope="session")
def splits() -> DatasetSplits:
    """The phantoms of small runs, which no test changes."""
    from .training_runs import phantoms

    return phantoms()


@pytest.fixture(scope="module")
def finished(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, splits: DatasetSplits
) -> Path:
    """Folder of an uninterrupted run by the `train` of the file that asks, of its `config` if it has one."""
    from .training_runs import quiet, tiny

    folder = tmp_path_factory.mktemp("runs") / "finished"
    config = getattr(request.module, "config", tiny)(folder)
    request.module.train(config, splits=splits, console=quiet())
    return folder


@pytest.fixture(scope="session")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of weights, drawn from a seed, for the backbone of small runs."""
    from torchvision.models import shufflenet_v2_x0_5

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(shufflenet_v2_x0_5().state_dict(), path)
    return str(path)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """As runs have: networks this small gain nothing by more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessPoolExecutor]:
    """A process whose account shows what is in use.

    glibc would learn from what is freed to keep large blocks in a heap full of holes, twice as large as what
    is in use; above a fixed threshold every block is mapped by itself and given back when it is freed.
    """
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", str(1 << 16))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool
