"""Commands and the world around them: any file name, any terminal, readers that leave, Ctrl-C, full disks."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anatpaste_gpu.cli import score
from anatpaste_gpu.cli.outcome import DONE, FAILED, NO_READER, PARTLY_DONE, STOPPED
from anatpaste_gpu.cli.score_output import ImageScore, ScoreOutput
from anatpaste_gpu.data import SplitManifest
from anatpaste_gpu.methods.scoring_plan import ScoringPlan
from dev import REPOSITORY

from .commands import DAMAGED, closed_pipe, run, scored
from .test_data_dicom import RAMP8, make, save
from .training_runs import TINY, phantoms, train

NAMES = ["plain.png", "胸部 X光 ü.png", "M\udcfcller.png", "n" * 240 + ".png", "[x] 'y'.png"]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Images with names of every kind, and a damaged one."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in NAMES:
        Image.fromarray(RAMP8).save(folder / name)
    (folder / "破損.png").write_bytes(DAMAGED)
    return folder


class Terminal(io.TextIOWrapper):
    """A stream that a person reads."""

    def isatty(self) -> bool:
        return True


def printed_by(
    command: Callable[[], int],
    encoding: str,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[io.TextIOWrapper] = io.TextIOWrapper,
) -> tuple[int, bytes]:
    """Exit status and what went to a standard output of this encoding."""
    raw = io.BytesIO()
    stream = kind(raw, encoding=encoding)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        status = command()
        stream.flush()
    return status, raw.getvalue()


def full_disk() -> io.TextIOWrapper:
    """A stream that takes nothing."""
    return os.fdopen(os.open("/dev/full", os.O_WRONLY), "w")


class TestNames:
    @pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp1252"])
    @pytest.mark.parametrize("form", ["csv", "json"])
    def test_every_terminal_gets_every_row(
        self,
        finished_runs: list[Path],
        pictures: Path,
        encoding: str,
        form: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def command() -> int:
            return scored(finished_runs[0], pictures, "--format", form)

        status, content = printed_by(command, encoding, monkeypatch)
        assert status == PARTLY_DONE
        if form == "json":
            rows = json.loads(content)["images"]
            assert sorted(Path(row["name"]).name for row in rows) == sorted(NAMES)
            return
        rows = list(csv.reader(io.StringIO(content.decode(encoding, "surrogateescape"))))[1:]
        names = [name.rsplit("/", 1)[1] for name, *_ in rows]
        assert len(names) == len(NAMES)
        assert "plain.png" in names
        if encoding == "utf-8":
            assert sorted(names) == sorted(NAMES)
        assert b"M\xfcller.png" in content, "the bytes of the file's name"

    @pytest.mark.parametrize("suffix", ["csv", "json"])
    def test_files_hold_every_name(
        self, finished_runs: list[Path], pictures: Path, tmp_path: Path, suffix: str
    ) -> None:
        output = tmp_path / f"{'o' * 240}.{suffix}"
        assert scored(finished_runs[0], pictures, "--output", output) == PARTLY_DONE
        if suffix == "json":
            rows = json.loads(output.read_text(encoding="utf-8"))["images"]
        else:
            with open(output, encoding="utf-8", errors="surrogateescape", newline="") as file:
                rows = list(csv.DictReader(file))
        assert sorted(Path(row["name"]).name for row in rows) == sorted(NAMES)

    def test_a_table_on_a_narrow_terminal(
        self, finished_runs: list[Path], pictures: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        status, content = printed_by(
            lambda: scored(finished_runs[0], pictures), "ascii", monkeypatch, Terminal
        )
        assert status == PARTLY_DONE
        assert b"plain.png" in content.replace(b"\n", b"").replace(b"|", b"").replace(b" ", b"")

    def test_prepare_and_augment(self, tmp_path: Path) -> None:
        for kind, count in (("normal", 12), ("sick", 6)):
            (tmp_path / "data" / kind).mkdir(parents=True)
            for i in range(count):
                Image.fromarray(RAMP8).save(tmp_path / "data" / kind / f"M{i}\udcfc.png")
        split, out = tmp_path / "split.json", tmp_path / "out"
        words = ("prepare", "--dataset", "folder", "--data-root", tmp_path / "data")
        assert run(*words, "-o", split, "--cache", tmp_path / "cache", "--image-size", "32") == DONE
        assert run(*words, "--check", split) == DONE
        assert len(SplitManifest.load(split).entries) == 18
        assert run("augment", tmp_path / "data", "--folder", out, "--image-size", "32") == DONE
        assert len(list(out.rglob("M*\udcfc.png"))) == 18

    def test_augment_keeps_uids_whole(self, tmp_path: Path) -> None:
        for name in ("1.2.840.1", "1.2.840.2", "1.2.840.3.dcm", "IM1"):
            save(tmp_path / name, make(RAMP8))
        files = sorted(tmp_path.iterdir())
        (tmp_path / "masks").mkdir()
        for name in ("1.2.840.1", "1.2.840.2", "1.2.840.3", "IM1"):
            Image.fromarray(np.full((40, 40), 255, np.uint8)).save(tmp_path / "masks" / f"{name}.png")
        words = ("--image-size", "32", "--masks", tmp_path / "masks", "--folder", tmp_path / "out")
        assert run("augment", *files, *words) == DONE
        expected = ["1.2.840.1.png", "1.2.840.2.png", "1.2.840.3.png", "IM1.png"]
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == expected

    def test_augment_skips_what_has_no_room_for_a_suffix(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "in").mkdir()
        Image.fromarray(RAMP8).save(tmp_path / "in" / ("n" * 251 + ".png"))
        Image.fromarray(RAMP8).save(tmp_path / "in" / "short.png")
        words = ("--image-size", "32", "--copies", "2", "--folder", tmp_path / "out")
        assert run("augment", tmp_path / "in", *words) == PARTLY_DONE
        assert "cannot be written: File name too long" in capsys.readouterr().err
        assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["short-0.png", "short-1.png"]


class TestOutput:
    @pytest.mark.parametrize("place", ["no/scores.csv", "folder", "file/scores.csv", "o" * 300])
    def test_looked_at_before_an_image_is_read(
        self,
        finished_runs: list[Path],
        pictures: Path,
        tmp_path: Path,
        place: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "file").touch()
        assert scored(finished_runs[0], pictures, "--output", tmp_path / place) == FAILED
        printed = capsys.readouterr()
        assert f"{tmp_path / place} cannot be written: " in printed.err
        assert "skipped" not in printed.err
        assert printed.out == ""

    def test_a_file_that_was_there_stays_until_there_are_scores(
        self, finished_runs: list[Path], pictures: Path, tmp_path: Path
    ) -> None:
        output = tmp_path / "scores.csv"
        output.write_text("scores of last week\n" * 100)
        assert scored(finished_runs[0], pictures / "破損.png", "--output", output) == FAILED
        assert output.read_text().startswith("scores of last week")
        assert scored(finished_runs[0], pictures / "plain.png", "--output", output) == DONE
        assert len(output.read_text().splitlines()) == 2

    def test_nothing_is_left_where_nothing_could_be_scored(
        self, finished_runs: list[Path], pictures: Path, tmp_path: Path
    ) -> None:
        assert scored(finished_runs[0], pictures / "破損.png", "--output", tmp_path / "new.csv") == FAILED
        assert not (tmp_path / "new.csv").exists()

    @pytest.mark.parametrize(
        "words", [("--output", "/dev/full"), ("--output", "/dev/full", "--format", "json")]
    )
    def test_a_full_disk_is_named(
        self,
        finished_runs: list[Path],
        pictures: Path,
        words: tuple[str, ...],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        assert scored(finished_runs[0], pictures, *words) == FAILED
        expected = "/dev/full cannot be written: No space left on device; the scores of 0 images are there."
        assert expected in capsys.readouterr().err
        assert Path("/dev/full").is_char_device()

    @pytest.mark.parametrize(
        "words",
        [
            ("prepare", "--dataset", "demo", "-o", "{}"),
            ("prepare", "--dataset", "demo", "--cache", "{}/cache"),
            ("augment", "pictures", "--gallery", "{}"),
            ("augment", "pictures", "--folder", "{}/out"),
        ],
    )
    def test_the_others_look_first_too(
        self, words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "file").touch()
        assert run(*(word.format(tmp_path / "file" / "x") for word in words)) == FAILED
        printed = capsys.readouterr()
        assert "cannot be written: Not a directory" in printed.err
        assert printed.out == ""

    def test_report_looks_first_too(
        self, finished_runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "file").touch()
        assert run("report", finished_runs[0], "--gpu", "-1", "-o", tmp_path) == FAILED
        assert f"{tmp_path} cannot be written: Is a directory" in capsys.readouterr().err
        page = ("-o", tmp_path / "r.html", "--figures", tmp_path / "file")
        assert run("report", finished_runs[0], "--gpu", "-1", *page) == FAILED
        assert "file cannot be written: Not a directory" in capsys.readouterr().err
        assert not (tmp_path / "r.html").exists()


class TestReaderThatLeaves:
    @pytest.mark.parametrize("form", ["csv", "json"])
    def test_scores_end_without_a_word(
        self,
        finished_runs: list[Path],
        pictures: Path,
        form: str,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(sys, "stdout", closed_pipe())
        assert scored(finished_runs[0], pictures / "plain.png", "--format", form) == NO_READER
        assert "roken" not in capsys.readouterr().err

    @pytest.mark.parametrize("stream", [closed_pipe, full_disk, lambda: None])
    def test_other_commands_finish_their_work(
        self,
        pictures: Path,
        tmp_path: Path,
        stream: Callable[[], io.TextIOWrapper | None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(sys, "stdout", stream())
        assert run("prepare", "--dataset", "demo", "-o", tmp_path / "split.json") == DONE
        assert SplitManifest.load(tmp_path / "split.json").entries
        monkeypatch.setattr(sys, "stdout", stream())
        assert run("augment", pictures / "plain.png", "--folder", tmp_path / "out") == DONE
        assert (tmp_path / "out" / "plain.png").is_file()

    @pytest.mark.parametrize(
        "words", [("--help",), ("score", "--help"), ("prepare", "--help"), ("--version",)]
    )
    def test_manuals_too(self, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdout", closed_pipe())
        with pytest.raises(SystemExit) as stopped:
            run(*words)
        assert not stopped.value.code
        sys.stdout.flush()  # as the interpreter does at its end

    def test_scores_need_somewhere_to_go(
        self,
        finished_runs: list[Path],
        pictures: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", None)
            assert scored(finished_runs[0], pictures) == FAILED
        assert "there is no standard output to write to; give --output FILE." in capsys.readouterr().err

    @pytest.mark.parametrize("leaves", ["reader", "ctrl-c"])
    def test_as_a_shell_sees_it(self, finished_runs: list[Path], tmp_path: Path, leaves: str) -> None:
        """More rows than a pipe holds, so that the command waits for its reader when that goes."""
        for i in range(500):
            Image.fromarray(RAMP8).save(tmp_path / f"{'n' * 200}{i}.png")
        words = [
            sys.executable,
            "-m",
            "anatpaste_gpu.cli",
            "score",
            finished_runs[0],
            tmp_path,
            "--gpu",
            "-1",
        ]
        child = subprocess.Popen(
            list(map(str, words)), cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline().decode() == ",".join(score.COLUMNS) + "\n"
        if leaves == "reader":
            child.stdout.close()
            error = child.stderr.read().decode()
            assert child.wait(60) == NO_READER
        else:
            first = [child.stdout.readline() for _ in range(20)]
            child.send_signal(signal.SIGINT)
            rest, message = child.communicate(timeout=60)
            error = message.decode()
            assert child.returncode == STOPPED
            kept = int(error.split("the scores of ")[1].split()[0])
            # The row that it was writing when the signal came may be whole and not counted yet.
            assert 0 < kept <= len(first) + len(rest.splitlines()) <= kept + 1 < 500
        assert "Traceback" not in error
        assert "Exception ignored" not in error
        assert "Broken" not in error


class TestSignals:
    @pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    @pytest.mark.parametrize("suffix", ["csv", "json"])
    def test_scores_so_far_are_kept(
        self,
        finished_runs: list[Path],
        tmp_path: Path,
        suffix: str,
        sent: signal.Signals,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        (tmp_path / "in").mkdir()
        for i in range(6):
            Image.fromarray(RAMP8).save(tmp_path / "in" / f"{i}.png")
        add = ScoreOutput.add

        def stop_at_the_fifth(self: ScoreOutput, result: ImageScore) -> None:
            if self.count == 4:
                signal.raise_signal(sent)
            add(self, result)

        monkeypatch.setattr(ScoringPlan, "of", lambda *args, **options: ScoringPlan(2, 2, 1))
        monkeypatch.setattr(ScoreOutput, "add", stop_at_the_fifth)
        output = tmp_path / f"scores.{suffix}"
        assert scored(finished_runs[0], tmp_path / "in", "--output", output) == 128 + sent
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert "stopped; the scores of 4 images are kept." in capsys.readouterr().err
        if suffix == "json":
            rows = json.loads(output.read_text())["images"]
        else:
            with open(output, newline="") as file:
                rows = list(csv.DictReader(file))
        assert [Path(row["name"]).name for row in rows] == [f"{i}.png" for i in range(4)]

    @pytest.mark.parametrize(
        "words", [("prepare", "--dataset", "demo"), ("augment", "pictures", "--folder", "x")]
    )
    def test_others_say_that_they_stopped(
        self,
        words: tuple[str, ...],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        def stop(*words: object, **more: object) -> object:
            raise KeyboardInterrupt

        monkeypatch.setattr("anatpaste_gpu.cli.prepare.plan_split", stop)
        monkeypatch.setattr("anatpaste_gpu.cli.augment.find_sources", stop)
        assert run(*words) == STOPPED
        assert capsys.readouterr().err == f"anatpaste {words[0]}: stopped.\n"


class TestClosedPipe:
    """The commands in processes of their own, as `| head` and `2>&1 | head` leave them."""

    TINY = ("--preset", "smoke", "--gpu", "-1", "--threads", "1", "--image-size", "32", "--batch-size", "4")
    SHORT = ("--epochs", "2", "--steps-per-epoch", "2", "--log-every", "1", "--bootstrap-samples", "100")

    @staticmethod
    def left(
        words: tuple[str | Path, ...], *, lines: int, errors_too: bool, program: str = "-m anatpaste_gpu.cli"
    ) -> tuple[int, str]:
        """Runs a command whose reader leaves after some lines; exit status and what standard error got."""
        child = subprocess.Popen(
            [sys.executable, *program.split(), *map(str, words)],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if errors_too else subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        for _ in range(lines):
            assert child.stdout.readline()
        child.stdout.close()
        error = "" if child.stderr is None else child.stderr.read()
        return child.wait(240), error

    @pytest.mark.slow
    @pytest.mark.parametrize(("lines", "errors_too"), [(1, False), (0, True)])
    def test_training_finishes(self, tmp_path: Path, lines: int, errors_too: bool) -> None:
        words = ("--dataset", "demo", "--output", tmp_path / "run", *self.TINY, *self.SHORT)
        status, error = self.left(words, lines=lines, errors_too=errors_too, program="train.py")
        assert (status, error) == (DONE, "")
        assert (tmp_path / "run" / "metrics.json").is_file()
        assert (tmp_path / "run" / "roc.png").is_file()

    @pytest.mark.slow
    def test_reproduce_finishes(self, tmp_path: Path) -> None:
        words = ("reproduce", "--table", "1", "--dataset", "demo", "--method", "untrained", "--gpu", "-1")
        tiny = ("--no-images", "-o", tmp_path, "--", "--image-size", "32", "--bootstrap-samples", "100")
        assert self.left((*words, *tiny), lines=0, errors_too=True) == (DONE, "")
        assert (tmp_path / "table1.html").is_file()

    @pytest.mark.slow
    def test_the_others_finish(self, finished_runs: list[Path], pictures: Path, tmp_path: Path) -> None:
        page, split, out = tmp_path / "page.html", tmp_path / "split.json", tmp_path / "out"
        commands: list[tuple[tuple[str | Path, ...], int, Path]] = [
            (("prepare", "--dataset", "demo", "-o", split), DONE, split),
            (("report", finished_runs[0], "-o", page, "--no-images", "--gpu", "-1"), DONE, page),
            # A damaged image is skipped, which is told on standard error.
            (("augment", pictures, "--folder", out, "--image-size", "32"), PARTLY_DONE, out / "plain.png"),
        ]
        for words, expected, made in commands:
            assert self.left(words, lines=0, errors_too=True) == (expected, "")
            assert made.is_file()

    def test_scores_end_when_errors_go_there_too(self, finished_runs: list[Path], pictures: Path) -> None:
        status, _ = self.left(("score", finished_runs[0], pictures, "--gpu", "-1"), lines=0, errors_too=True)
        assert status == NO_READER

    def test_scores_in_a_file_need_no_reader(
        self, finished_runs: list[Path], pictures: Path, tmp_path: Path
    ) -> None:
        """Only what goes wrong is told on standard error, and that nobody reads it is no reason to stop."""
        output = tmp_path / "scores.csv"
        words = ("score", finished_runs[0], pictures, "--gpu", "-1", "--output", output)
        status, _ = self.left(words, lines=0, errors_too=True)
        assert status == PARTLY_DONE
        assert len(output.read_bytes().splitlines()) == 1 + len(NAMES)


class TestTrainingInPython:
    @pytest.mark.parametrize("stream", [closed_pipe, full_disk, lambda: None])
    def test_a_script_finishes_too(
        self,
        stream: Callable[[], io.TextIOWrapper | None],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(sys, "stdout", stream())
        train(TINY.replace(output=str(tmp_path), epochs=1), splits=phantoms())
        assert (tmp_path / "metrics.json").is_file()
        error = capsys.readouterr().err
        full = "anatpaste: standard output cannot be written: No space left on device.\n"
        assert error == (full if stream is full_disk else "")
