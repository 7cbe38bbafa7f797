"""What is imported when: packages that take a second or more wait until something needs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from anatpaste_gpu import runs, scorers, training
from anatpaste_gpu.lazy import lazy_names
from anatpaste_gpu.methods.detector import Detector
from anatpaste_gpu.scorers.calibration import Calibration

from .detectors import fitted

ROOT = Path(__file__).parent.parent
#: Each takes from half a second to as long as torch.
SLOW = (
    "kornia",
    "matplotlib",
    "pydicom",
    "scipy",
    "sklearn",
    "sympy",
    "timm",
    "torch._dynamo",
    "torchvision",
)


def imported_by(code: str) -> set[str]:
    """Which of `SLOW`, and whether torch, a fresh process has imported after some code."""
    report = f"\nimport sys\nprint(*(name for name in {('torch', *SLOW)!r} if name in sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", code + report], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return set(run.stdout.splitlines()[-1].split())


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector as a run leaves it, with the paper's backbone, and an image."""
    folder = tmp_path_factory.mktemp("run")
    images = torch.randint(
        0, 256, (4, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    Detector(fitted(images), Calibration(1.0, 0.0, 2.0)).save(folder / "model.safetensors")
    Image.fromarray(images[0, 0].numpy()).save(folder / "image.png")
    return folder


def test_a_score_imports_torch_and_nothing_else_that_is_slow(run_dir: Path) -> None:
    words = [str(run_dir), str(run_dir / "image.png"), "--gpu", "-1", "--output", str(run_dir / "scores.csv")]
    assert imported_by(f"from anatpaste_gpu.cli import main\nassert main({['score', *words]!r}) == 0") == {
        "torch"
    }
    assert len((run_dir / "scores.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    "call", ["batch_augment(images)", "segment_lungs(images)", "cut_paste(images, variant='normal')"]
)
def test_augmenting_imports_torch_alone(call: str) -> None:
    code = f"import torch, anatpaste_gpu\nimages = torch.ones(1, 1, 32, 32)\nanatpaste_gpu.{call}"
    assert imported_by(code) == {"torch"}


def test_the_commands_list_imports_nothing() -> None:
    code = (
        "import contextlib as c, anatpaste_gpu.cli as cli\nwith c.suppress(SystemExit): cli.main(['--help'])"
    )
    assert imported_by(code) == set()


@pytest.mark.parametrize("command", ["train", "score", "serve"])
def test_the_help_of_a_command_imports_torch_alone(command: str) -> None:
    asked = f"with c.suppress(SystemExit): cli.main([{command!r}, '--help'])"
    code = f"import contextlib as c, anatpaste_gpu.cli as cli\n{asked}"
    assert imported_by(code) <= {"torch"}


@pytest.mark.parametrize("package", [runs, scorers, training])
def test_lazy_names_are_listed_and_found(package: object) -> None:
    names = package.__all__  # type: ignore[attr-defined]
    assert set(names) <= set(dir(package))
    assert all(getattr(package, name) is not None for name in names)


def test_a_name_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(vars(scorers), "Mahalanobis", raising=False)
    find, names = lazy_names("anatpaste_gpu.scorers", {"Mahalanobis": "estimators", "registry": "registry"})
    assert find("Mahalanobis") is vars(scorers)["Mahalanobis"]
    assert find("registry") is sys.modules["anatpaste_gpu.scorers.registry"]
    assert {"Mahalanobis", "registry", "Scorer"} <= set(names())
    with pytest.raises(AttributeError, match=r"module 'anatpaste_gpu\.scorers' has no attribute 'Other'"):
        find("Other")
