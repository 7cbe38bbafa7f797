"""The folder that a run writes: its files, and whether a run may start, go on or must keep out."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

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
                return True
            if not config.overwrite:
                raise ValueError(refusal)
        elif self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise ValueError(f"{self.path} exists and is not a run folder; choose another --output.")
        return False

    def begin(self, config: TrainConfig, manifest: SplitManifest) -> None:
        """Writes settings and split of a new run, after removing the run that it overwrites."""
        if config.overwrite:
            self._remove_run()
        self.path.mkdir(parents=True, exist_ok=True)
        temporary = self.path / f".{self.manifest.name}"
        manifest.save(temporary)
        temporary.replace(self.manifest)
        write_atomically(self.config, config.to_yaml())  # last: with it, the folder holds a run

    def stored_manifest(self) -> SplitManifest:
        """The split of the run to be continued."""
        return SplitManifest.load(self.manifest)

    def _why_not_continue(self, config: TrainConfig) -> str | None:
        """None where the folder holds an unfinished run of the config's recipe, else a sentence."""
        remedy = "choose another --output, or --overwrite true to replace it."
        if self.metrics.exists():
            return f"{self.path} already holds a finished run; {remedy}"
        try:
            stored = TrainConfig.from_yaml(self.config.read_text(encoding="utf-8")).recipe()
        except (ValueError, TypeError, yaml.YAMLError) as error:
            return f"{self.path} holds a run whose config.yaml cannot be read ({error}); {remedy}"
        for name, value in config.recipe().items():
            if stored[name] != value:
                found = f"{self.path} holds an unfinished run with {name} {stored[name]!r}, not {value!r}"
                return f"{found}; {remedy}"
        return None

    def _remove_run(self) -> None:
        """Removes a run's own files and nothing else."""
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
        self.config.unlink(missing_ok=True)
