"""The model card beside an exported file: what it says, that it says it again, and what it leaves alone."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from anatpaste_gpu.cli import main
from anatpaste_gpu.export.card import MARK
from anatpaste_gpu.methods.ganomaly import GanomalySettings
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.runs import load_runs

from .training_runs import phantoms, quiet, tiny, train

HEADINGS = [
    "What it is",
    "What it is for",
    "What it was made of",
    "How good it is",
    "How this file differs from its detector",
    "Thresholds",
    "How to run it",
    "Limits",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("card") / "run"
    own = {"method": "ganomaly", "options": GanomalySettings(width=4, latent=8)}
    train(tiny(folder, epochs=1, validate_every=1, **own), splits=phantoms(), console=quiet())
    return folder


def exported(run: Path, output: Path, *words: str) -> int:
    return main(["export", str(run), "-o", str(output), *words])


def test_what_it_says(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exported(run, tmp_path / "model.pt2", "--check") == 0
    assert f"{tmp_path / 'model.md'}: its model card." in capsys.readouterr().out
    text = (tmp_path / "model.md").read_text(encoding="utf-8")
    assert text.startswith(f"# Model card: model.pt2\n{MARK}\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == HEADINGS
    (record,) = load_runs([run])
    test = record.metrics["test"]
    low, high = test["intervals"]["auc"]
    row = next(line for line in text.splitlines() if line.startswith("| auc |"))
    assert row.endswith(f"| {test['auc']:.3f} ({low:.3f} to {high:.3f}) |")
    assert f"| {record.metrics['validation']['auc']:.3f} (" in row
    for said in (
        NOT_FOR_CLINICAL_USE,
        "`ganomaly`",
        "| train | 24 | 0 |",
        "Radiograph phantoms made by code (`--dataset demo`)",
        "Its networks started from random weights",
        "Not for diagnosis, triage, or any decision about a patient.",
        f"| an image is called abnormal from | {record.calibration.threshold:.6g} |",
        "On 16 validation images scores differ by at most",
        'torch.export.load("model.pt2")',
    ):
        assert said in text, said
    # Images are counted, and neither named nor shown; nor is the machine.
    assert not any(image.name in text for image in record.images)
    for place in (run.parent, tmp_path, Path.cwd(), Path.home()):
        assert os.fspath(place) not in text


def test_again_it_says_the_same(run: Path, tmp_path: Path) -> None:
    texts = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        assert exported(run, tmp_path / name / "model.pt2", "--no-check") == 0
        texts.append((tmp_path / name / "model.md").read_bytes())
    assert texts[0] == texts[1]
    assert b"Not measured when it was written" in texts[0]
    assert exported(run, tmp_path / "first" / "model.pt2", "--no-check") == 0, "its own card gives way"


def test_of_a_model_file(run: Path, tmp_path: Path) -> None:
    assert exported(run / "model.safetensors", tmp_path / "model.pt2", "--threshold", "0.5") == 0
    text = (tmp_path / "model.md").read_text(encoding="utf-8")
    assert "without the record of its run" in text
    assert "How good it is" not in text
    assert "| an image is called abnormal from | 0.5 |" in text


def test_a_file_of_somebodys_own_stays(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "README.md").write_text("# Mine\n")
    assert exported(run, tmp_path / "README.pt2") == 1
    assert "README.md is there and is no model card of ours; choose another name" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md"]
    assert exported(run, tmp_path / "README.pt2", "--no-card") == 0
    assert (tmp_path / "README.md").read_text() == "# Mine\n"
