"""The folder that a run writes: its files, and whether a run may start, go on or must keep out."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import yaml

from anatpaste_gpu.checks import one_line
from anatpaste_gpu.data import SplitManifest
from anatpaste_gpu.files import sha256_of, write_atomically
from anatpaste_gpu.runs.checkpoint import previous_of
from anatpaste_gpu.runs.config import TrainConfig

# Disk full, quota used up, file larger than the process may write.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LITTER = frozenset(
    {".ds_store", ".localized", ".directory", ".gitkeep", ".gitignore", ".keep", "thumbs.db", "desktop.ini"}
)
_LITTER_FOLDERS = frozenset({"lost+found", ".ipynb_checkpoints", "@eadir", ".snapshot", "__macosx"})
# Of `nohup`, `tee` and batch systems, which open them before the run begins.
_LOG_SUFFIXES = (".log", ".out", ".err")
_REMEDY = "choose another --output, or --overwrite true to replace it."


class RunFolder:
    """Paths of a run's files.

    Args:
        path: the folder, which need not be there yet.

    Attributes:
        path: the folder.
        config: every setting, as YAML that `train.py --config` reads.
        manifest: which image is in which split.
        checkpoint: state of an unfinished run; removed at its end, with the generation before it.
        step_times: how long the steps of an unfinished run took, a row each; removed with it.
        model: the detector with the best validation AUC so far.
        next_model: a better one, until a checkpoint knows of it.
        scores: score of every validation and test image.
        metrics: results; its presence means that the run is finished. Equal for equal runs.
        timing: how long the steps took: of the machine, not of the run.
        diverged: the batch at which the loss was no number any more.
        roc, histogram, gallery: pictures.
        tensorboard: scalars for TensorBoard.
        scalars: the same as a table, where that was asked for.
        trackers: which runs of other trackers are this run.
        wandb: what Weights & Biases keeps.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path = Path(path)
        self.config = path / "config.yaml"
        self.manifest = path / "split_manifest.json"
        self.checkpoint = path / "checkpoint.pt"
        self.previous_checkpoint = previous_of(self.checkpoint)
        self.step_times = path / "step_times.csv"
        self.model = path / "model.safetensors"
        self.next_model = path / ".model.safetensors.next"
        self.scores = path / "scores.csv"
        self.metrics = path / "metrics.json"
        self.timing = path / "timing.json"
        self.diverged = path / "diverged.json"
        self.roc = path / "roc.png"
        self.histogram = path / "score_histogram.png"
        self.gallery = path / "augmentation_gallery.png"
        self.tensorboard = path / "tensorboard"
        self.scalars = path / "scalars.csv"
        self.trackers = path / "trackers.json"
        self.wandb = path / "wandb"

    def check(self, config: TrainConfig) -> bool:
        """Looks whether a run may be written here, and changes nothing.

        Returns:
            Whether the folder holds an unfinished run of the same recipe, to be continued.

        Raises:
            ValueError: it holds a finished run, a run of another recipe, or something else.
        """
        if self.config.exists():
            refusal = self._why_not_continue(config)
            if refusal is None:
                return self.manifest.exists()  # else it was killed while an older run was removed
            if not config.place.overwrite:
                raise ValueError(refusal)
        elif self.path.exists() and (not self.path.is_dir() or any(map(self._stays, self.path.iterdir()))):
            raise ValueError(f"{self.path} exists and is not a run folder; choose another --output.")
        return False

    def begin(self, config: TrainConfig, manifest: SplitManifest) -> None:
        """Writes settings and split of a new run, after removing the run that it overwrites."""
        if config.place.overwrite:
            self._remove_run()
        self.path.mkdir(parents=True, exist_ok=True)
        self.sweep()
        manifest.save(self.manifest)
        write_atomically(self.config, config.to_yaml())  # last: with it, the folder holds a run

    def stored_config(self) -> TrainConfig:
        """The settings of the run in this folder.

        Raises:
            ValueError: there is none, or it cannot be read.
        """
        if not self.config.is_file():
            raise ValueError(f"{self.path}: there is no run to continue here (no config.yaml).")
        try:
            return TrainConfig.from_yaml(self.config.read_text(encoding="utf-8"))
        except (ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
            raise ValueError(
                f"{self.path} holds a run whose config.yaml cannot be read ({one_line(error)})."
            ) from error

    def stored_manifest(self) -> SplitManifest:
        """The split of the run to be continued."""
        return SplitManifest.load(self.manifest)

    def trained_model(self) -> Path:
        """The detector's file.

        Raises:
            ValueError: the folder does not exist, or has no model yet.
        """
        if not self.path.is_dir():
            raise ValueError(f"{self.path}: there is no such run folder.")
        if not self.model.is_file():
            raise ValueError(
                f"{self.path}: no {self.model.name} here; a run writes it at its first validation."
            )
        return self.model

    def sweep(self) -> None:
        """Removes what writes left that were cut off."""
        for file in self.path.glob(".*"):
            if file != self.next_model and not self._is_foreign(file):
                file.unlink(missing_ok=True)

    def keep_model(self) -> None:
        """Lets the next model be the model: for after a checkpoint was written that knows of it."""
        if self.next_model.exists():
            os.replace(self.next_model, self.model)

    def settle_model(self, best_model: str) -> None:
        """After a kill, keeps or drops the next model by whether the state to be continued knows of it.

        Args:
            best_model: SHA-256 of the best model's file as the state has it, or empty.
        """
        if self.next_model.exists():
            if sha256_of(self.next_model) == best_model:
                self.keep_model()
            else:
                self.next_model.unlink()

    def remove_checkpoints(self) -> None:
        """Removes both generations, and the steps' times, of a run that is finished."""
        self.checkpoint.unlink(missing_ok=True)
        self.previous_checkpoint.unlink(missing_ok=True)
        self.step_times.unlink(missing_ok=True)

    @contextlib.contextmanager
    def explain_full_disk(self) -> Iterator[None]:
        """Turns the error of a full disk into a sentence that says what is left and what to do."""
        try:
            yield
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            safe = self.checkpoint.exists() or self.previous_checkpoint.exists()
            state = "the last checkpoint is intact" if safe else "no checkpoint had been written yet"
            raise OSError(
                f"{self.path}: nothing more can be written here ({error.strerror}); {state}. "
                "Make room, and the same command continues the run."
            ) from error

    def _is_foreign(self, file: Path) -> bool:
        """Whether a file is none that a run leaves behind when it is killed before it has a config.yaml."""
        own = (self.config, self.metrics, *self._files())
        hidden = file.name.startswith(".")
        # Of a file that is itself temporary, the temporary one has two dots.
        named = file.name.lstrip(".").startswith(tuple(path.name.lstrip(".") for path in own))
        return file != self.manifest and not (hidden and named)

    def _stays(self, file: Path) -> bool:
        """Whether a file makes the folder somebody else's."""
        return self._is_foreign(file) and not _is_litter(file)

    def _files(self) -> tuple[Path, ...]:
        """A run's own files but for metrics.json, TensorBoard's and config.yaml, which is the last to go."""
        return (
            self.timing,
            self.diverged,
            self.checkpoint,
            self.previous_checkpoint,
            self.step_times,
            self.next_model,
            self.model,
            self.scores,
            self.roc,
            self.histogram,
            self.gallery,
            self.scalars,
            self.trackers,
            self.manifest,
        )

    def is_finished(self, config: TrainConfig, remedy: str = _REMEDY) -> bool:
        """Whether the folder holds a finished run of the config's recipe.

        Args:
            config: its recipe is compared.
            remedy: what the error says can be done.

        Raises:
            ValueError: it holds a finished run of another recipe, or one that cannot be read.
        """
        if not self.metrics.exists():
            return False
        difference = self._difference(config, "a finished run")
        if difference is not None:
            raise ValueError(f"{difference}; {remedy}")
        return True

    def _why_not_continue(self, config: TrainConfig) -> str | None:
        """None where the folder holds an unfinished run of the config's recipe, else a sentence."""
        if self.metrics.exists():
            return f"{self.path} already holds a finished run; {_REMEDY}"
        difference = self._difference(config, "an unfinished run")
        return None if difference is None else f"{difference}; {_REMEDY}"

    def _difference(self, config: TrainConfig, run: str) -> str | None:
        """None where the folder's run has the config's recipe, else what is different or wrong."""
        try:
            difference = self.stored_config().difference(config)
        except ValueError as error:
            return one_line(error)
        if difference is None:
            return None
        name, stored, wanted = difference
        return f"{self.path} holds {run} with {name} {stored!r}, not {wanted!r}"

    def _remove_run(self) -> None:
        """Removes a run's own files and nothing else."""
        self.metrics.unlink(missing_ok=True)  # first, so that a half-removed run never looks finished
        for file in self._files():
            file.unlink(missing_ok=True)
        for logs in (self.tensorboard, self.wandb):
            shutil.rmtree(logs, ignore_errors=True)
        self.config.unlink(missing_ok=True)


def _is_litter(file: Path) -> bool:
    """Whether a file is what desktops, git and schedulers leave in a folder that is empty to its owner."""
    name = file.name.lower()
    if not file.is_file():
        return name in _LITTER_FOLDERS
    return name in _LITTER or name.startswith(("._", ".nfs")) or name.endswith(_LOG_SUFFIXES)


class SeedsFolder:
    """Paths of the runs of several seeds and of what they come to together.

    Args:
        path: the folder, which need not be there yet.

    Attributes:
        path: the folder.
        summary: means over the seeds.
        ensemble: the folder of the ensemble's scores and pictures, named as a run's.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path = Path(path)
        self.summary = path / "summary.json"
        self.ensemble = RunFolder(path / "ensemble")

    def run(self, seed: int) -> Path:
        """The run folder of a seed."""
        return self.path / f"seed-{seed}"
