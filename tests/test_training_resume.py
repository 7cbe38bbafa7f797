"""What a run survives: kills at any moment, damaged checkpoints, a full disk; and --resume."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from anatpaste_gpu.cli.train import main, parse
from anatpaste_gpu.data import DatasetSplits
from anatpaste_gpu.runs.checkpoint import (
    FORMAT,
    Progress,
    previous_of,
    read_checkpoint,
    restore_checkpoint,
    state_of,
    write_checkpoint,
)
from anatpaste_gpu.runs.folder import RunFolder
from anatpaste_gpu.runs.step_times import StepTimes
from anatpaste_gpu.training import TrainConfig

from .training_runs import (
    Killed,
    assert_same_run,
    interrupted_after,
    killed_after,
    printed,
    quiet,
    stop_at,
    tiny,
    train,
)

REPOSITORY = Path(__file__).resolve().parent.parent


def killed(step: int, folder: Path, splits: DatasetSplits, **changes: Any) -> None:
    """A run that ends without a word after this step."""
    with killed_after(step):
        train(tiny(folder, **changes), splits=splits, console=quiet())


def continued(folder: Path, splits: DatasetSplits, **changes: Any) -> str:
    console = quiet()
    train(tiny(folder, **changes), splits=splits, console=console)
    return printed(console)


class TestCheckpoint:
    def state(
        self, step: int
    ) -> tuple[torch.nn.Module, dict[str, torch.optim.Optimizer], Progress, torch.amp.GradScaler]:
        """Two networks, each with an optimiser whose momentum tells the step that it is of."""
        networks = torch.nn.ModuleDict({"maker": torch.nn.Linear(2, 1), "critic": torch.nn.Linear(2, 1)})
        optimizers: dict[str, torch.optim.Optimizer] = {
            "maker": torch.optim.SGD(networks["maker"].parameters(), lr=0.5, momentum=0.9),
            "critic": torch.optim.Adam(networks["critic"].parameters(), lr=0.1),
        }
        for sign, (name, network) in zip((1, -1), networks.items(), strict=True):
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.fill_(sign * step)
            network(torch.full((1, 2), float(step))).sum().backward()
            optimizers[name].step()
        progress = Progress(step=step, epochs=[{"loss": 0.1}], sums={"loss": 0.5, "right": 3})
        return networks, optimizers, progress, torch.amp.GradScaler("cpu", enabled=True)

    def test_round_trip(self, tmp_path: Path) -> None:
        networks, optimizers, progress, scaler = self.state(3)
        scaler.scale(torch.ones(()))  # it makes its state when it is first used
        write_checkpoint(tmp_path / "checkpoint.pt", state_of(networks, optimizers, progress, scaler))
        content = read_checkpoint(tmp_path / "checkpoint.pt", pytest.fail)
        assert content is not None
        others, other_optimizers, _, other_scaler = self.state(7)
        assert restore_checkpoint(content, others, other_optimizers, other_scaler) == progress
        for own, read in zip(networks.parameters(), others.parameters(), strict=True):
            assert torch.equal(own, read)
        for name in optimizers:
            torch.testing.assert_close(
                other_optimizers[name].state_dict(), optimizers[name].state_dict(), rtol=0, atol=0
            )
        assert other_scaler.state_dict() == scaler.state_dict()

    def test_no_file_is_no_state(self, tmp_path: Path) -> None:
        assert read_checkpoint(tmp_path / "checkpoint.pt", pytest.fail) is None

    def test_a_flipped_bit_anywhere_or_a_cut_brings_back_the_state_before(self, tmp_path: Path) -> None:
        path = tmp_path / "checkpoint.pt"
        for step in (1, 2, 3):
            write_checkpoint(path, state_of(*self.state(step)))
        whole = path.read_bytes()
        generator = random.Random(0)
        places = [0, 30, len(whole) - 1, *(generator.randrange(len(whole)) for _ in range(20))]
        damages = [bytes([*whole[:at], whole[at] ^ 4, *whole[at + 1 :]]) for at in places]
        for damaged in (b"", whole[:10], whole[: len(whole) // 2], whole[:-1], *damages):
            path.write_bytes(damaged)
            said: list[str] = []
            content = read_checkpoint(path, said.append)
            assert content is not None
            assert content["progress"]["step"] == 2
            assert len(said) == 1
            assert "the checkpoint is damaged" in said[0]
            assert said[0].endswith("The state before it is used instead, of step 2.")

    def test_two_damaged_generations_are_an_error(self, tmp_path: Path) -> None:
        path = tmp_path / "checkpoint.pt"
        path.write_bytes(b"PK\x03\x04 torn")
        previous_of(path).write_bytes(b"")
        with pytest.raises(ValueError, match=r"No whole state is left; --overwrite true starts anew\."):
            read_checkpoint(path, pytest.fail)

    def test_killed_between_the_two_renames(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "checkpoint.pt"
        write_checkpoint(path, state_of(*self.state(1)))
        original = os.replace

        def replace(source: Any, target: Any) -> None:
            if Path(target) == path:
                raise Killed
            original(source, target)

        monkeypatch.setattr(os, "replace", replace)
        with pytest.raises(Killed):
            write_checkpoint(path, state_of(*self.state(2)))
        monkeypatch.undo()
        content = read_checkpoint(path, pytest.fail)
        assert content is not None
        assert content["progress"]["step"] == 1

    def test_nothing_but_tensors_is_unpickled(self, tmp_path: Path) -> None:
        """A checksum protects from accidents only; whoever writes the file can write that too."""
        import hashlib
        import io

        buffer = io.BytesIO()
        torch.save({"networks": os.system}, buffer)
        digest = hashlib.sha256(buffer.getvalue()).hexdigest().encode()
        path = tmp_path / "checkpoint.pt"
        path.write_bytes(f"{FORMAT}\n".encode() + digest + b"\n" + buffer.getvalue())
        with pytest.raises(ValueError, match=r"the checkpoint cannot be read \(UnpicklingError\)"):
            read_checkpoint(path, pytest.fail)


class TestContinuation:
    @pytest.mark.parametrize("often", [{"checkpoint_every": 2}, {"checkpoint_seconds": 0.0}], ids=str)
    def test_no_more_is_lost_than_an_interval(
        self, often: dict[str, Any], tmp_path: Path, splits: DatasetSplits, finished: Path
    ) -> None:
        folder = tmp_path / "run"
        killed(11, folder, splits, **often)
        assert f"Continuing at step 10 in {folder}" in continued(folder, splits)
        assert_same_run(folder, finished)

    def test_damaged_checkpoint_costs_one_interval(
        self, tmp_path: Path, splits: DatasetSplits, finished: Path
    ) -> None:
        folder = RunFolder(tmp_path / "run")
        killed(8, folder.path, splits)
        with open(folder.checkpoint, "r+b") as file:
            file.truncate(1000)
        shown = continued(folder.path, splits)
        assert "checkpoint.pt: the checkpoint is damaged" in shown
        assert "Continuing at step 3" in shown
        assert_same_run(folder.path, finished)

    def test_a_better_model_counts_only_with_its_checkpoint(
        self, tmp_path: Path, splits: DatasetSplits, finished: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Killed after a validation wrote its network, before or after the checkpoint that knows of it."""
        for name in ("write_checkpoint", "keep_model"):
            folder = RunFolder(tmp_path / name)
            target = RunFolder if name == "keep_model" else "anatpaste_gpu.training.trainer"

            def die_at_the_validation(
                *args: Any, folder: RunFolder = folder, name: str = name, **options: Any
            ) -> None:
                if folder.next_model.exists():
                    raise Killed
                if name == "write_checkpoint":
                    write_checkpoint(*args, **options)

            with monkeypatch.context() as patch:
                if isinstance(target, str):
                    patch.setattr(f"{target}.{name}", die_at_the_validation)
                else:
                    patch.setattr(target, name, die_at_the_validation)
                with pytest.raises(Killed):
                    train(tiny(folder.path), splits=splits, console=quiet())
            assert folder.next_model.exists()
            assert not folder.model.exists()
            step = 3 if name == "write_checkpoint" else 6
            assert f"Continuing at step {step}" in continued(folder.path, splits)
            assert_same_run(folder.path, finished)

    def test_training_goes_on_while_a_state_is_written(
        self, tmp_path: Path, splits: DatasetSplits, finished: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The state within the first epoch is written when two more steps are done."""
        folder = RunFolder(tmp_path / "run")
        done, order = threading.Event(), []

        def write(path: Path, state: Any) -> None:
            if state["progress"]["step"] == 1:
                assert done.wait(60)
            order.append(state["progress"]["step"])
            write_checkpoint(path, state)

        monkeypatch.setattr("anatpaste_gpu.training.trainer.write_checkpoint", write)
        stop_at(monkeypatch, 2, lambda: (order.append("second step"), done.set()))
        train(tiny(folder.path, checkpoint_every=1), splits=splits, console=quiet())
        assert order[:4] == [0, "second step", 1, 2]
        assert_same_run(folder.path, finished)

    def test_times_of_all_steps_are_kept(
        self, tmp_path: Path, splits: DatasetSplits, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        counts = []
        summary = StepTimes.summary
        folder = tmp_path / "run"
        killed(8, folder, splits)
        monkeypatch.setattr(
            StepTimes, "summary", lambda times: (counts.append(len(times.step_ms)), summary(times))[1]
        )
        continued(folder, splits)
        assert counts == [12]
        assert not RunFolder(folder).step_times.exists()

    def test_states_of_before_times_had_a_file_are_continued(
        self, tmp_path: Path, splits: DatasetSplits, finished: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = RunFolder(tmp_path / "run")
        killed(8, folder.path, splits)
        state = read_checkpoint(folder.checkpoint, pytest.fail)
        assert state is not None
        state["progress"] |= {"step_ms": [1.5] * 6, "augmentation_ms": [0.5] * 6}
        write_checkpoint(folder.checkpoint, state)
        folder.step_times.unlink()
        assert "Continuing at step 6" in continued(folder.path, splits)
        assert_same_run(folder.path, finished)

    def test_killed_while_the_folder_was_made(self, tmp_path: Path, splits: DatasetSplits) -> None:
        folder = RunFolder(tmp_path)
        splits.manifest.save(folder.manifest)
        (tmp_path / ".config.yaml.x7").write_text("half")
        assert folder.check(tiny(tmp_path)) is False
        folder.begin(tiny(tmp_path), splits.manifest)
        assert {path.name for path in tmp_path.iterdir()} == {"config.yaml", "split_manifest.json"}

    def test_log_of_a_killed_run_has_every_step_once(self, tmp_path: Path, splits: DatasetSplits) -> None:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        for step in (1, 5, 8, 8, 11):
            killed(step, tmp_path / "run", splits)
        continued(tmp_path / "run", splits)
        events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
        assert [event.step for event in events.Scalars("validation/auc")] == [0, 6, 12]
        assert [event.step for event in events.Scalars("train/loss")] == [2, 4, 6, 8, 10, 12]


class TestFullDisk:
    def test_the_state_before_is_intact_and_the_command_continues(
        self,
        tmp_path: Path,
        splits: DatasetSplits,
        finished: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        folder = RunFolder(tmp_path / "run")
        killed(8, folder.path, splits)
        before = folder.checkpoint.read_bytes()
        original = os.fsync

        def no_room(handle: int) -> None:
            if os.fstat(handle).st_size > 100_000:  # room for a small file only
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            original(handle)

        monkeypatch.setattr(os, "fsync", no_room)
        monkeypatch.setattr("anatpaste_gpu.training.run.load_dataset", lambda *args, **options: splits)
        assert main(["--resume", str(folder.path)]) == 1
        assert capsys.readouterr().err.splitlines() == [
            f"train.py: error: {folder.path}: nothing more can be written here (No space left on device); "
            "the last checkpoint is intact. Make room, and the same command continues the run."
        ]
        monkeypatch.undo()
        assert folder.checkpoint.read_bytes() == before
        assert not [path.name for path in folder.path.iterdir() if path.name.startswith(".")]
        assert "Continuing at step 6" in continued(folder.path, splits)
        assert_same_run(folder.path, finished)

    @pytest.mark.slow
    def test_a_process_that_may_write_no_large_file(self, tmp_path: Path) -> None:
        """The kernel's own refusal, met by every way of writing; the reason is then EFBIG."""
        limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)); "
        code = limit + "from anatpaste_gpu.cli.train import main; raise SystemExit(main())"
        words = ["--dataset", "demo", "--preset", "smoke", "--gpu", "-1", "--output", str(tmp_path / "run")]
        run = subprocess.run(
            [sys.executable, "-c", code, *words, "--epochs", "1", "--steps_per_epoch", "1"],
            capture_output=True,
            text=True,
            check=False,
            cwd=REPOSITORY,
        )
        assert run.returncode == 1
        assert run.stderr.count("\n") == 1
        assert "nothing more can be written here (File too large); no checkpoint had been" in run.stderr


class TestResumeOption:
    def begun(self, folder: Path, splits: DatasetSplits, **changes: Any) -> TrainConfig:
        config = tiny(folder, **changes)
        RunFolder(folder).begin(config, splits.manifest)
        return config

    def test_config_comes_from_the_folder_and_places_may_change(
        self, tmp_path: Path, splits: DatasetSplits
    ) -> None:
        config = self.begun(tmp_path / "run", splits, seed=5)
        moved = tmp_path / "moved"
        (tmp_path / "run").rename(moved)
        assert parse(["--resume", str(moved)]) == tiny(moved, seed=5)
        assert parse([f"--resume={moved}", "--workers", "3", "--log-every=9"]) == tiny(
            moved, seed=5, workers=3, log_every=9
        )
        assert parse(["--resume", str(moved)]).recipe_hash() == config.recipe_hash()

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--batch-size", "8"], "continues a run with batch_size 4, which cannot become 8 half-way"),
            (["--preset", "cpu"], "says all that --preset could; leave --preset out"),
            (["--output=x"], "says all that --output could; leave --output out"),
        ],
    )
    def test_another_run_is_refused(
        self,
        words: list[str],
        message: str,
        tmp_path: Path,
        splits: DatasetSplits,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self.begun(tmp_path / "run", splits)
        with pytest.raises(SystemExit) as stopped:
            main(["--resume", str(tmp_path / "run"), *words])
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err

    def test_no_run_there(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as stopped:
            main(["--resume", str(tmp_path)])
        assert stopped.value.code == 2
        assert f"{tmp_path}: there is no run to continue here" in capsys.readouterr().err

    def test_finished_run_is_done(self, finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--resume", str(finished)]) == 0
        shown = capsys.readouterr().err.strip()
        assert shown == f"{finished} holds a finished run: there is nothing to continue."

    def test_continues_to_the_same_end(
        self, tmp_path: Path, splits: DatasetSplits, finished: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with interrupted_after(7, signal.SIGINT):
            train(tiny(tmp_path / "run"), splits=splits, console=quiet())
        monkeypatch.setattr("anatpaste_gpu.training.run.load_dataset", lambda *args, **options: splits)
        assert main(["--resume", str(tmp_path / "run"), "--log_every", "1"]) == 0
        assert_same_run(tmp_path / "run", finished)


@pytest.mark.slow
def test_twenty_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    """SIGKILL, whatever the process is at: beginning, learning, writing. One thread, so one order of sums."""
    command = [sys.executable, "-m", "tests.kill_often", str(tmp_path), "20"]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout.split()[-1]) == 20, "the run was over before it was killed often enough"
    assert_same_run(tmp_path / "killed", tmp_path / "whole")
    left = [path.name for path in (tmp_path / "killed").iterdir() if path.name.startswith(".")]
    assert not left, "writes that were cut off"
