"""Damaged tables, manifests, runs and models: each is read or refused in one sentence, nothing half done."""

from __future__ import annotations

import faulthandler
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anatpaste_gpu.cli import main
from anatpaste_gpu.data import DatasetError, ManifestEntry, SplitManifest, plan_split
from anatpaste_gpu.methods import Detector
from anatpaste_gpu.runs import RunFolder, load_runs
from dev import REPOSITORY

from .mutations import mutated, mutated_json, mutated_text
from .test_data_chexpert import published
from .test_data_rsna import TWELVE, kaggle
from .training_runs import phantoms, quiet, tiny, train

_SECONDS = 60
#: Mutations of each file in the test that always runs, and in the slow one.
_FEW, _MANY = 60, 1500


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with a network of 0.3 million weights."""
    folder = tmp_path_factory.mktemp("small") / "run"
    train(tiny(folder), splits=phantoms(), console=quiet())
    return folder


@dataclass(frozen=True)
class Target:
    """A file that is damaged, and what reads it.

    Attributes:
        path: of the file, sound.
        read: raises ValueError where it refuses; a DatasetError is one.
        damage: (content, seed) -> content.
    """

    path: Path
    read: Callable[[], object]
    damage: Callable[[bytes, int], bytes] = mutated_text


def prepare_targets(root: Path, run: Path) -> dict[str, Target]:
    """Sound files of every kind, below a folder.

    Args:
        root: where to make them.
        run: a finished run, which is copied.
    """
    folder, rsna, chexpert = root / "folder", root / "rsna", root / "chexpert"
    for kind, count in (("normal", 12), ("sick", 6)):
        (folder / kind).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(np.full((20, 20), i, np.uint8)).save(folder / kind / f"ü{i}.png")
    rows = [f"normal/ü{i}.png,{i // 2}.0" for i in range(12)]
    (folder / "patients.csv").write_text("\n".join(["path,patient", *rows]) + "\n")
    kaggle(rsna, TWELVE)
    (rsna / "provenance.csv").write_text("patientId,nih_patient\n" + "".join(f"{n},7.0\n" for n in "abc"))
    mapped = root / "mapped"
    shutil.copytree(rsna, mapped)
    (mapped / "provenance.csv").unlink()
    mapping = mapped / "pneumonia-challenge-dataset-mappings_2018.json"
    mapping.write_text(json.dumps([{"subset_img_id": n, "img_id": f"0000000{n}_000.png"} for n in "123"]))
    published(chexpert)
    copy = root / "run"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("tensorboard", "*.png"))
    split = root / "split.json"
    plan_split("folder", folder, progress=False).save(split)

    def planned(name: str, place: Path) -> Callable[[], object]:
        return lambda: check_manifest(plan_split(name, place, progress=False), root)

    targets = {
        "patients.csv": Target(folder / "patients.csv", planned("folder", folder)),
        "class_info.csv": Target(rsna / "stage_2_detailed_class_info.csv", planned("rsna", rsna)),
        "labels.csv": Target(rsna / "stage_2_train_labels.csv", planned("rsna", rsna)),
        "provenance.csv": Target(rsna / "provenance.csv", planned("rsna", rsna)),
        "mapping.json": Target(mapping, planned("rsna", mapped), mutated_either),
        "train.csv": Target(chexpert / "train.csv", planned("chexpert", chexpert)),
        "valid.csv": Target(chexpert / "valid.csv", planned("chexpert", chexpert)),
        "split.json": Target(split, lambda: check_manifest(SplitManifest.load(split), root), mutated_either),
        "model.safetensors": Target(copy / "model.safetensors", lambda: score_with(copy), mutated_model),
    }
    for name in ("config.yaml", "metrics.json", "scores.csv", "split_manifest.json"):
        damage = mutated_either if name.endswith(".json") else mutated_text
        targets[name] = Target(copy / name, lambda: read_run(copy), damage)
    return targets


def check_manifest(manifest: SplitManifest, root: Path) -> None:
    """What was read can be written and read back."""
    manifest.save(root / "again.json")
    assert SplitManifest.load(root / "again.json") == manifest


def read_run(folder: Path) -> None:
    (run,) = load_runs([folder])
    run.findings, run.split_notes, run.training_seconds  # noqa: B018
    RunFolder(folder).stored_config()


def score_with(folder: Path) -> None:
    """A model that is read can do what `anatpaste score` asks of it."""
    try:
        detector = Detector.load(RunFolder(folder).trained_model())
    except ValueError as error:
        if "model.safetensors" not in str(error):
            raise AssertionError(f"the file is not named: {error}") from error
        raise
    images = torch.zeros((2, 1, detector.image_size, detector.image_size), dtype=torch.uint8)
    scores, calibration = detector.score(images), detector.calibration
    assert scores.shape == (2,)
    assert calibration is not None
    assert np.isfinite(calibration.normalise([0.0])).all()
    assert set(calibration.decide(scores)) <= {0, 1}


def mutated_model(content: bytes, seed: int) -> bytes:
    """Changes of bytes, of the header's text, and of what the header says; weights are most of the file."""
    length = int.from_bytes(content[:8], "little")
    head, rest = content[8 : 8 + length], content[8 + length :]
    kind = seed % 4
    if kind == 0:
        return mutated(content, seed)
    if kind == 1:
        head = mutated_text(head, seed)
    elif kind == 2:
        head = mutated_json(head, seed)
    else:
        described = json.loads(head)
        own = mutated_json(described["__metadata__"]["detector"].encode(), seed)
        described["__metadata__"]["detector"] = own.decode()
        head = json.dumps(described).encode()
    return len(head).to_bytes(8, "little") + head + rest


def mutated_either(content: bytes, seed: int) -> bytes:
    """A JSON file changed as text, or in what it says."""
    return (mutated_text if seed % 2 else mutated_json)(content, seed)


def is_read(target: Target) -> bool:
    """Whether the damaged file was read; anything but that or a one-line refusal is a failure."""
    try:
        target.read()
    except ValueError as error:
        sentence = str(error)
        if "\n" in sentence or not sentence:
            raise AssertionError(f"not one sentence: {sentence!r}") from error
        return False
    return True


def fuzz(targets: dict[str, Target], first: int, count: int) -> dict[str, list[int]]:
    """Numbers of mutations that were refused and that were read, by file."""
    counts = {name: [0, 0] for name in targets}
    for name, target in targets.items():
        sound = target.path.read_bytes()
        assert is_read(target), f"{name} as it is"
        before = set(target.path.parent.rglob("*"))
        for seed in range(first, first + count):
            target.path.write_bytes(target.damage(sound, seed))
            faulthandler.dump_traceback_later(_SECONDS, exit=True)
            try:
                counts[name][is_read(target)] += 1
            except Exception as error:
                raise AssertionError(f"{name}, seed {seed}") from error
        faulthandler.cancel_dump_traceback_later()
        target.path.write_bytes(sound)
        assert set(target.path.parent.rglob("*")) == before, f"{name} left something behind"
    return counts


@pytest.mark.filterwarnings("ignore")
def test_hundreds_of_damaged_files(tmp_path: Path, small_run: Path) -> None:
    counts = fuzz(prepare_targets(tmp_path, small_run), 0, _FEW)
    for name, (refused, read) in counts.items():
        assert refused, name
        assert read, name


class TestFound:
    """What the mutations brought to light, one by one."""

    def refusal(self, folder: Path, run: Path, **changes: object) -> str:
        """The sentence on a model whose description says something else."""
        content = (run / "model.safetensors").read_bytes()
        length = int.from_bytes(content[:8], "little")
        head = json.loads(content[8 : 8 + length])
        described = json.loads(head["__metadata__"]["detector"])
        for name, value in changes.items():
            (described["values"] if name in described["values"] else described)[name] = value
        head["__metadata__"]["detector"] = json.dumps(described)
        text = json.dumps(head).encode()
        file = folder / "model.safetensors"
        file.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
        with pytest.raises(ValueError, match="the model file cannot be used") as caught:
            Detector.load(file)
        return str(caught.value)

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"threshold": "0.5"}, "threshold must be a finite number, got '0.5'"),
            ({"minimum": None}, "minimum must be a finite number, got None"),
            ({"maximum": float("nan")}, "maximum must be a finite number, got nan"),
            ({"normal_threshold": []}, "normal_threshold must be a finite number, got []"),
            ({"minimum": 1.0, "maximum": 1.0}, "minimum must be below maximum, got 1.0 and 1.0"),
            ({"input_std": [1.0, 0.0, 1.0]}, "input_mean and input_std must be three numbers each"),
            ({"input_mean": ["a", 0.5, 0.5]}, "input_mean and input_std must be three numbers each"),
            ({"input_mean": [0.5]}, "input_mean and input_std must be three numbers each"),
        ],
    )
    def test_numbers_of_a_model_that_are_none(
        self, tmp_path: Path, small_run: Path, changes: dict[str, object], reason: str
    ) -> None:
        assert reason in self.refusal(tmp_path, small_run, **changes)

    def test_json_nested_too_deeply(self, tmp_path: Path, small_run: Path) -> None:
        (tmp_path / "split.json").write_text("[" * 100_000)
        with pytest.raises(DatasetError, match="is not readable as JSON"):
            SplitManifest.load(tmp_path / "split.json")
        shutil.copytree(small_run, tmp_path / "run")
        (tmp_path / "run" / "config.yaml").write_text("a: " + "[" * 3000)
        with pytest.raises(ValueError, match=r"config\.yaml cannot be read"):
            RunFolder(tmp_path / "run").stored_config()
        with pytest.raises(ValueError, match="not a readable run"):
            load_runs([tmp_path / "run"])

    @pytest.mark.parametrize("path", ["a\ud800.png", "\udfff"])
    def test_names_that_no_file_can_have(self, path: str) -> None:
        with pytest.raises(DatasetError, match="path must be relative and stay under"):
            SplitManifest.build("folder", 0, [ManifestEntry(path, 0, "train")])

    @pytest.mark.parametrize("seed", [-1, 1 << 63])
    def test_seeds_that_draw_nothing(self, tmp_path: Path, seed: int) -> None:
        SplitManifest.build("demo", 0, []).save(tmp_path / "split.json")
        text = (tmp_path / "split.json").read_text().replace('"seed": 0', f'"seed": {seed}')
        (tmp_path / "split.json").write_text(text)
        with pytest.raises(DatasetError, match=r"seed must be in 0\.\.2\*\*63 - 1"):
            SplitManifest.load(tmp_path / "split.json")


@pytest.mark.slow
@pytest.mark.parametrize("first", [1000, 3000])
def test_thousands_of_damaged_files(tmp_path: Path, small_run: Path, first: int) -> None:
    """1,500 mutations of each file, in a process that may crash or hang."""
    words = [tmp_path, small_run, first, _MANY]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.test_files_fuzz", *map(str, words)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]).keys() >= {"patients.csv", "model.safetensors"}


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_table_leaves_no_output(tmp_path: Path, small_run: Path, seed: int) -> None:
    """The command, whose output is there whole or not at all."""
    target = prepare_targets(tmp_path / "in", small_run)["patients.csv"]
    target.path.write_bytes(mutated_text(target.path.read_bytes(), seed))
    (tmp_path / "out").mkdir()
    words = (
        "prepare",
        "--dataset",
        "folder",
        "--data-root",
        target.path.parent,
        "-o",
        tmp_path / "out" / "s.json",
    )
    status = main([str(word) for word in words])
    written = list((tmp_path / "out").iterdir())
    assert [path.name for path in written] == (["s.json"] if status == 0 else [])
    if written:
        assert SplitManifest.load(written[0]).entries


def _run(folder: Path, run: Path, first: int, count: int) -> None:
    start = time.perf_counter()
    counts = fuzz(prepare_targets(Path(tempfile.mkdtemp(dir=folder)), run), first, count)
    print(json.dumps(counts | {"seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    _run(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
