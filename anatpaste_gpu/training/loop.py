"""The training loop."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable

import torch
from torch import Tensor

from anatpaste_gpu.data import DatasetSplits
from anatpaste_gpu.devices import compute_dtype
from anatpaste_gpu.model import HEAD_WIDTHS, AnatPasteNet
from anatpaste_gpu.segmenters import Segmenter, lung_segmenter
from anatpaste_gpu.training.checkpoint import (
    Progress,
    read_checkpoint,
    restore_checkpoint,
    save_checkpoint,
)
from anatpaste_gpu.training.clock import StepClock
from anatpaste_gpu.training.config import TrainConfig
from anatpaste_gpu.training.display import Display
from anatpaste_gpu.training.interrupt import Interrupted, StopRequest
from anatpaste_gpu.training.mask_cache import SEGMENT_ONCE, pack_all, segment_all
from anatpaste_gpu.training.order import TrainingStream
from anatpaste_gpu.training.run_folder import RunFolder
from anatpaste_gpu.training.source import open_source
from anatpaste_gpu.training.step import StepResult, TrainingStep, build_optimizer
from anatpaste_gpu.training.twins import Twins
from anatpaste_gpu.training.validation import Validator


class Trainer:
    """Trains one network from its first or its next step to its last.

    It puts the parts together: where images come from (`source`), what is made of them (`twins`), what a step
    does (`training_step`) and what a validation does (`validator`). What a step computes follows from the
    state after the step before it and from the number of the step; no random generator has a state. So a
    continued run equals an uninterrupted one, to the bit on a CPU with the same number of threads.

    Args:
        config: the recipe.
        splits: the images.
        folder: begun; a checkpoint in it is continued.
        device: where to train.
        display: what the user sees.
        segmenter: in place of the built-in one.
        masks: bool (N, 1, S, S) of the training images, in place of any segmentation.
    """

    def __init__(
        self,
        config: TrainConfig,
        splits: DatasetSplits,
        folder: RunFolder,
        device: torch.device,
        display: Display,
        *,
        segmenter: Segmenter | None = None,
        masks: Tensor | None = None,
    ) -> None:
        self.config, self.folder, self.device, self.display = config, folder, device, display
        stream = TrainingStream(len(splits.train), config.batch_size, config.seed)
        packed = self.segmented_once(splits, segmenter) if masks is None else pack_all(masks)
        self.source = open_source(splits.train.images, packed, stream, device, config.device_budget)
        self.twins = Twins(config, stream.share, device, segmenter)
        self.network = build_network(config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = build_optimizer(self.network, config)
        self.clock = StepClock(device)
        dtype = compute_dtype(config.precision, device)
        self.training_step = TrainingStep(self.network, self.optimizer, self.twins, dtype, self.clock)
        self.validator = Validator(config, self.source.images, splits.validation, folder, device)
        self.progress = Progress()
        stored = read_checkpoint(folder.checkpoint, display.line)
        if stored is not None:
            self.progress = restore_checkpoint(stored, self.network, self.optimizer)
        folder.settle_model(self.progress.best_model)
        self.saved_at = time.monotonic()
        self.loss_sum = torch.tensor(self.progress.loss_sum, dtype=torch.float64, device=device)
        self.correct = torch.tensor(self.progress.correct, device=device)

    def run(self) -> Progress:
        """Trains to the end.

        Raises:
            Interrupted: SIGINT or SIGTERM came; the state is saved.
            ValueError: the loss became infinite or NaN.
        """
        with contextlib.closing(self.source), StopRequest() as stop:
            if self.config.augmenter.trains and not self.folder.gallery.exists():
                self.save_gallery()
            if not self.progress.validations:
                self.validate(epochs_done=0)
                self.save()
            while self.progress.step < self.config.total_steps:
                self.train_step(self.progress.step)
                self.progress.step += 1
                if self.progress.step % self.config.steps_per_epoch == 0:
                    self.end_epoch(self.progress.step // self.config.steps_per_epoch)
                elif self.checkpoint_is_due():
                    self.save()
                if stop.received is not None:
                    self.save()
                    raise Interrupted(
                        f"Stopped after step {self.progress.step} of {self.config.total_steps}; "
                        "the same command continues the run.",
                        stop.received,
                    )
        return self.progress

    def segmented_once(self, splits: DatasetSplits, segmenter: Segmenter | None) -> Tensor | None:
        """Lung masks for every epoch, where they are to be made once and the method looks at any."""
        method = self.config.augmenter
        if self.config.segment != SEGMENT_ONCE or not method.segments:
            return None

        def track(numbers: Iterable[int]) -> Iterable[int]:
            return self.display.track(numbers, "segmenting lungs once")

        return segment_all(
            splits.train.images, segmenter or lung_segmenter(method.config), self.device, track
        )

    def train_step(self, step: int) -> None:
        """One step. Synchronises only to log."""
        learning_rate = self.config.learning_rate_at(step // self.config.steps_per_epoch)
        self.note(self.training_step(self.source.batch(step), learning_rate))
        if (step + 1) % self.config.log_every == 0:
            self.log(learning_rate)
        self.display.advance(step + 1)

    def note(self, result: StepResult) -> None:
        """Adds a step's result to the epoch's sums, on the device."""
        self.loss_sum += result.loss
        self.correct += result.correct

    def end_epoch(self, epochs_done: int) -> None:
        """Notes the epoch's means, validates where it is time to, and writes a checkpoint."""
        self.collect()
        steps = self.config.steps_per_epoch
        loss = self.progress.loss_sum / steps
        if not math.isfinite(loss):
            raise ValueError(
                f"the loss became {loss} in epoch {epochs_done}; a lower --learning_rate than "
                f"{self.config.learning_rate} may help."
            )
        record = {
            "epoch": epochs_done,
            "loss": loss,
            "accuracy": self.progress.correct / (steps * len(self.twins.labels)),
            "learning_rate": self.config.learning_rate_at(epochs_done - 1),
        }
        self.progress.epochs.append(record)
        self.display.epoch(record)
        self.progress.loss_sum, self.progress.correct = 0.0, 0
        self.loss_sum.zero_()
        self.correct.zero_()
        if self.config.validates_after(epochs_done - 1):
            self.validate(epochs_done)
        self.save()

    def validate(self, epochs_done: int) -> None:
        """Scores the validation set and shows the result."""
        self.display.validation(epochs_done, self.validator(self.network, self.progress, epochs_done))

    def log(self, learning_rate: float) -> None:
        """Shows the running means of the epoch. Synchronises."""
        self.collect()
        done = self.progress.step % self.config.steps_per_epoch + 1
        self.display.log(
            step=self.progress.step + 1,
            loss=self.progress.loss_sum / done,
            accuracy=self.progress.correct / (done * len(self.twins.labels)),
            learning_rate=learning_rate,
            step_ms=self.progress.step_ms[-self.config.log_every :],
            augmentation_ms=self.progress.augmentation_ms[-self.config.log_every :],
        )

    def collect(self) -> None:
        """Brings sums and times from the device into `progress`. Synchronises."""
        self.progress.loss_sum, self.progress.correct = float(self.loss_sum), int(self.correct)
        for augmentation, rest in self.clock.drain():
            self.progress.augmentation_ms.append(augmentation)
            self.progress.step_ms.append(augmentation + rest)

    def checkpoint_is_due(self) -> bool:
        """Whether a state should be kept within an epoch."""
        every = self.config.checkpoint_every
        if every and self.progress.step % every == 0:
            return True
        return time.monotonic() - self.saved_at >= self.config.checkpoint_seconds

    def save(self) -> None:
        """Writes the checkpoint; with it the best network so far is kept."""
        self.collect()
        save_checkpoint(self.folder.checkpoint, self.network, self.optimizer, self.progress)
        self.folder.keep_model()
        self.saved_at = time.monotonic()

    def save_gallery(self) -> None:
        """Draws what the first images of the first step become."""
        first = self.source.batch(0)
        rows = slice(self.config.gallery_rows)
        self.twins.save_gallery(self.folder.gallery, *(tensor[rows] for tensor in first.tensors()))


def build_network(config: TrainConfig) -> AnatPasteNet:
    """The network before training, on the CPU; a function of the config alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        method = config.augmenter
        widths = (*HEAD_WIDTHS[:-1], method.classes)
        network = AnatPasteNet(
            config.backbone, widths, imagenet_input=method.imagenet_input, image_size=config.image_size
        )
    if config.weights is not None:
        network.load_weights(config.weights)
    return network
