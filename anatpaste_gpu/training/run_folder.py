"""The folder that a run writes: its files, and whether a run may start, go on or must keep out."""

from __future__ import annotations

import shutil
from pathlib import Path

from anatpaste_gpu.data import SplitManifest
from anatpaste_gpu.files import write_atomically
from anatpaste_gpu.training.config import TrainConfig


class RunFolder:
    """Paths of a run's files.

    Attributes:
        path: the folder.
        config: every setting, as YAML that `train.py --config` reads.
        manifest: which image is in which split.
        checkpoint: state of an unfinished run; removed at its end.
        model: the detector with the best validation AUC so far.
        scores: score of every validation and test image.
        metrics: results; its presence means that the run is finished.
        roc, histogram, gallery: pictures.
        tensorboard: scalars for TensorBoard.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.manifest = path / "split_manifest.json"
        self.checkpoint = path / "checkpoint.pt"
        self.model = path / "model.safetensors"
        self.scores = path / "scores.csv"
        self.metrics = path / "metrics.json"
        self.roc = path / "roc.png"
        self.histogram = path / "score_histogram.png"
        self.gallery = path / "augmentation_gallery.png"
        self.tensorboard = path / "tensorboard"

    def prepare(self, config: TrainConfig) -> bool:
        """Makes the folder ready for a run.

        Returns:
            Whether it holds an unfinished run of the same recipe, to be continued.

        Raises:
            ValueError: it holds a finished run, a run of another recipe, or something else.
        """
        if config.overwrite:
            self._remove_run()
        if self.metrics.exists():
            raise ValueError(
                f"{self.path} already holds a finished run; "
                "choose another --output, or --overwrite true to replace it."
            )
        if self.config.exists():
            self._check_same_recipe(config)
            return True
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise ValueError(f"{self.path} exists and is not a run folder; choose another --output.")
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.config, config.to_yaml())
        return False

    def stored_manifest(self) -> SplitManifest | None:
        """The split of the run to be continued, if it got as far as drawing one."""
        return SplitManifest.load(self.manifest) if self.manifest.exists() else None

    def save_manifest(self, manifest: SplitManifest) -> None:
        """Writes the split, whole or not at all."""
        temporary = self.path / f".{self.manifest.name}"
        manifest.save(temporary)
        temporary.replace(self.manifest)

    def _check_same_recipe(self, config: TrainConfig) -> None:
        try:
            stored = TrainConfig.from_yaml(self.config.read_text(encoding="utf-8")).recipe()
        except (ValueError, TypeError) as error:
            raise ValueError(f"{self.config} cannot be read: {error}") from error
        asked = config.recipe()
        for name, value in asked.items():
            if stored[name] != value:
                raise ValueError(
                    f"{self.path} holds an unfinished run with {name} {stored[name]!r}, not {value!r}; "
                    "give the same settings to continue it, or choose another --output."
                )

    def _remove_run(self) -> None:
        """Removes a run's own files and nothing else; a folder without config.yaml is nobody's run."""
        if not self.config.exists():
            return
        self.metrics.unlink(missing_ok=True)  # first, so that a half-removed run never looks finished
        files = (
            self.checkpoint,
            self.model,
            self.scores,
            self.roc,
            self.histogram,
            self.gallery,
            self.manifest,
        )
        for file in files:
            file.unlink(missing_ok=True)
        shutil.rmtree(self.tensorboard, ignore_errors=True)
        self.config.unlink()
