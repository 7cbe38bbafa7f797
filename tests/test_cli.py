"""The console command: every word of it, its exit codes, and its one-sentence refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anatpaste_gpu import batch_augment, cut_paste
from anatpaste_gpu.cli import COMMANDS, main
from anatpaste_gpu.cli.outcome import DONE, EXIT_CODES, FAILED, PARTLY_DONE, WRONG_USAGE
from anatpaste_gpu.data import SplitManifest, load_dataset, plan_split, read_image
from anatpaste_gpu.data.demo import write_folder
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE

from .test_data_rsna import TWELVE, kaggle


def exit_code(*words: str | Path) -> int:
    """The status as a shell would see it."""
    try:
        return main([str(word) for word in words])
    except SystemExit as stop:
        return int(stop.code or 0)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of phantoms as PNG files."""
    folder = tmp_path_factory.mktemp("pictures")
    write_folder(folder, image_size=64, seed=0, train_size=4, validation_size=2, test_size=2)
    return folder


class TestManual:
    def test_help_names_every_command_and_exit_code(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert exit_code("--help") == DONE
        text = capsys.readouterr().out
        for word in (*COMMANDS, *COMMANDS.values(), *EXIT_CODES.values(), NOT_FOR_CLINICAL_USE):
            assert word in text

    @pytest.mark.parametrize("command", COMMANDS)
    def test_each_command_has_a_manual(self, command: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert exit_code(command, "--help") == DONE
        assert capsys.readouterr().out.startswith(f"usage: anatpaste {command}")

    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert exit_code("--version") == DONE
        assert capsys.readouterr().out.startswith("anatpaste_gpu ")

    @pytest.mark.parametrize("words", [(), ("diagnose",), ("train", "--no-such-option", "1"), ("report",)])
    def test_wrong_command_line(self, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
        assert exit_code(*words) == WRONG_USAGE
        assert "error" in capsys.readouterr().err


def test_train_is_train_py(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("train", "--preset", "smoke", "--print_config") == DONE
    assert "image_size: 64" in capsys.readouterr().out
    words = ("train", "--dataset", "zhanglab", "--data-root", tmp_path, "--output", tmp_path / "run")
    assert exit_code(*words, "--gpu", "-1") == FAILED
    assert capsys.readouterr().err.startswith("anatpaste train: error: ")


def test_score_and_report_of_a_run(
    finished_runs: list[Path], tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, scores, page, figures = finished_runs[0], *(tmp_path / n for n in ("s.csv", "page.html", "figures"))
    assert exit_code("score", run, pictures, "--output", scores, "--gpu", "-1") == DONE
    assert len(scores.read_text().splitlines()) == 1 + len(list(pictures.rglob("*.png")))
    assert exit_code("report", run, "-o", page, "--gpu", "-1", "--figures", figures) == DONE
    assert "Apache-2.0" in capsys.readouterr().err
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    expected = ["0-cases", "0-embeddings", "0-heat", "roc", "training"]
    assert sorted(p.name for p in figures.iterdir()) == [f"demo-0-{name}.png" for name in expected]


class TestReport:
    def test_data_that_moved_away(
        self, finished_runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert exit_code("report", tmp_path / "nothing") == FAILED
        assert "there is no such run folder" in capsys.readouterr().err
        page = tmp_path / "no" / "page.html"
        assert exit_code("report", finished_runs[0], "-o", page, "--no-images") == FAILED
        assert "there is no such folder to write the report to" in capsys.readouterr().err

    def test_numbers_alone(self, finished_runs: list[Path], tmp_path: Path) -> None:
        assert exit_code("report", *finished_runs, "-o", tmp_path / "page.html", "--no-images") == DONE
        assert "data:image" not in (tmp_path / "page.html").read_text(encoding="utf-8")


class TestPrepare:
    def test_split_is_that_of_training(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "split.json"
        assert exit_code("prepare", "--dataset", "demo", "--seed", 3, "-o", file) == DONE
        text = capsys.readouterr().out
        assert "Apache-2.0" in text
        manifest = SplitManifest.load(file)
        sizes = {split: len(manifest.split(split)) for split in ("train", "validation", "test")}
        assert all(str(size // (1 if split == "train" else 2)) in text for split, size in sizes.items())
        small = load_dataset("demo", image_size=16, seed=3, manifest=manifest, progress=False)
        assert small.manifest == manifest
        assert [path.name for path in tmp_path.iterdir()] == ["split.json"]

    def test_check(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "split.json"
        assert exit_code("prepare", "--dataset", "demo", "-o", file) == DONE
        assert exit_code("prepare", "--dataset", "demo", "--check", file) == DONE
        content = json.loads(file.read_text())
        content["entries"].pop()
        file.write_text(json.dumps(content))
        assert exit_code("prepare", "--dataset", "demo", "--check", file) == FAILED
        assert "1 entries differ, the first is" in capsys.readouterr().err

    def test_check_of_a_split_from_before_there_were_findings(self, tmp_path: Path) -> None:
        file, root = tmp_path / "split.json", tmp_path / "data"
        kaggle(root, TWELVE)
        words = ("prepare", "--dataset", "rsna", "--data-root", root)
        assert exit_code(*words, "-o", file) == DONE
        content = json.loads(file.read_text())
        content |= {"format": "anatpaste-split-1", "columns": content["columns"][:-1]}
        content["entries"] = [row[:-1] for row in content["entries"]]
        file.write_text(json.dumps(content))
        assert exit_code(*words, "--check", file) == DONE
        assert exit_code(*words, "--check", file, "--seed", 1) == FAILED

    def test_cache(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        root, cache = tmp_path / "data", tmp_path / "cache"
        kaggle(root, TWELVE)
        words = ("prepare", "--dataset", "rsna", "--data-root", root, "--cache", cache, "--image-size", 32)
        assert exit_code(*words) == DONE
        assert "8 images of 32 x 32 (0 MB) in" in (text := capsys.readouterr().out)
        assert "8 decoded" in text
        broken = next(iter(plan_split("rsna", root, progress=False).split("train"))).path
        (root / broken).write_bytes((root / broken).read_bytes()[:-100])
        assert exit_code(*words) == PARTLY_DONE
        printed = capsys.readouterr()
        assert "7 images of 32 x 32" in printed.out
        assert "0 decoded" in printed.out
        assert "skipped: " in printed.err
        assert Path(broken).name in printed.err
        cached = load_dataset("rsna", root, image_size=32, cache=cache, progress=False)
        assert [file.name for file in cached.skipped] == [broken]

    def test_cache_that_cannot_be_written(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "file").touch()
        assert exit_code("prepare", "--dataset", "demo", "--cache", tmp_path / "file") == FAILED
        assert "cannot be written" in capsys.readouterr().err

    def test_data_set_that_is_not_there(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert exit_code("prepare", "--dataset", "zhanglab", "--data-root", tmp_path) == FAILED
        assert str(tmp_path) in capsys.readouterr().err


class TestAugment:
    def test_folder_holds_the_batch_augment_of_each_image(self, pictures: Path, tmp_path: Path) -> None:
        words = ("augment", pictures, "--folder", tmp_path, "--image-size", 64, "--seed", 5, "--copies", 2)
        assert exit_code(*words) == DONE
        originals = sorted(pictures.rglob("*.png"))
        images = torch.stack([read_image(path, 64) for path in originals])
        for copy in (0, 1):
            expected = batch_augment(images, seed=5, step=copy)
            for path, twin in zip(originals, expected, strict=True):
                written = tmp_path / path.relative_to(pictures).with_name(f"{path.stem}-{copy}.png")
                assert np.array_equal(np.asarray(Image.open(written)), twin[0].numpy())
        assert len(list(tmp_path.rglob("*.png"))) == 2 * len(originals)

    def test_cutpaste_writes_what_cut_paste_makes(self, pictures: Path, tmp_path: Path) -> None:
        words = ("augment", pictures, "--folder", tmp_path, "--image-size", 64, "--recipe", "cutpaste-union")
        assert exit_code(*words, "--seed", 5) == DONE
        originals = sorted(pictures.rglob("*.png"))
        twins = cut_paste(torch.stack([read_image(path, 64) for path in originals]), variant="union", seed=5)
        for path, twin in zip(originals, twins, strict=True):
            written = np.asarray(Image.open(tmp_path / path.relative_to(pictures)))
            assert np.array_equal(written, twin[0].numpy())

    def test_gallery(self, pictures: Path, tmp_path: Path) -> None:
        file = tmp_path / "gallery.png"
        words = ("augment", pictures, "--gallery", file, "--rows", 2, "--recipe", "paper")
        assert exit_code(*words, "--recipe", "without-blur") == DONE
        with Image.open(file) as image:
            assert image.size[0] > image.size[1], "three columns, two rows"

    def test_damaged_image_is_named_and_skipped(
        self, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        bad = tmp_path / "bad.png"
        bad.write_bytes(b"\x89PNG\r\n\x1a\nnothing")
        good = next(iter(sorted(pictures.rglob("*.png"))))
        assert exit_code("augment", bad, good, "--folder", tmp_path / "out") == PARTLY_DONE
        assert "skipped: " in (error := capsys.readouterr().err)
        assert "bad.png" in error
        assert [path.name for path in (tmp_path / "out").iterdir()] == [good.name]
        assert exit_code("augment", bad, "--folder", tmp_path / "out") == FAILED

    def test_two_images_for_one_file(
        self, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        good = next(iter(sorted(pictures.rglob("*.png"))))
        (tmp_path / good.name).write_bytes(good.read_bytes())
        assert exit_code("augment", good, tmp_path / good.name, "--folder", tmp_path / "out") == FAILED
        assert "would both be written to" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            ((), "give --gallery FILE, --folder DIR, or both"),
            (("--folder", "x", "--recipe", "paper", "--recipe", "official"), "--folder takes one --recipe"),
            (("--folder", "x", "--copies", "0"), "--copies and --rows must be at least 1"),
        ],
    )
    def test_wrong_use(
        self, words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert exit_code("augment", "image.png", *words) == WRONG_USAGE
        assert sentence in capsys.readouterr().err
