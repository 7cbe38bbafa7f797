"""The training loop."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from anatpaste_gpu import _extension
from anatpaste_gpu.data import DatasetSplits
from anatpaste_gpu.devices import compute_dtype, peak_memory
from anatpaste_gpu.distributed import Agreement, Ranks, own_parts
from anatpaste_gpu.distributed.parallel import in_parallel
from anatpaste_gpu.methods.backbones import GREY, published_normalisation
from anatpaste_gpu.model import HEAD_WIDTHS, AnatPasteNet
from anatpaste_gpu.segment.packed_masks import SEGMENT_ONCE, pack_all, segment_all
from anatpaste_gpu.segment.segmenters import Segmenter, lung_segmenter
from anatpaste_gpu.training.checkpoint import (
    Progress,
    read_checkpoint,
    restore_checkpoint,
    save_checkpoint,
)
from anatpaste_gpu.training.clock import StepClock
from anatpaste_gpu.training.config import TrainConfig
from anatpaste_gpu.training.display import Display
from anatpaste_gpu.training.divergence import diverged
from anatpaste_gpu.training.graph import CudaRecorder, GraphedStep
from anatpaste_gpu.training.interrupt import Interrupted, StopRequest
from anatpaste_gpu.training.order import TrainingStream
from anatpaste_gpu.training.run_folder import RunFolder
from anatpaste_gpu.training.source import open_source
from anatpaste_gpu.training.step import TrainingStep, build_optimizer
from anatpaste_gpu.training.tally import Tally
from anatpaste_gpu.training.twins import Twins
from anatpaste_gpu.training.validation import Validator

#: The most steps between two looks at the losses; a run whose loss is no number goes on for as many at most.
_MOST_STEPS_UNSEEN = 1024
# Input, augmentation, and the rest; a step within a CUDA graph has no moment between the last two.
_TIMED_PARTS = 3


class Trainer:
    """Trains one network from its first or its next step to its last.

    It puts the parts together: where images come from (`source`), what is made of them (`twins`), what a step
    does (`training_step`) and what a validation does (`validator`). What a step computes follows from the
    state after the step before it and from the number of the step; no random generator has a state. So a
    continued run equals an uninterrupted one, to the bit on a CPU with the same number of threads.

    Ranks that share the run take equal parts of every batch; gradients and batch statistics are those of the
    whole batch, so that the run differs from one process's by rounding alone, and with as many
    `batch_parts` not at all.

    Args:
        config: the recipe.
        splits: the images.
        folder: begun; a checkpoint in it is continued.
        device: where to train.
        display: what the user sees.
        ranks: who shares the run; None is nobody.
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
        ranks: Ranks | None = None,
        *,
        segmenter: Segmenter | None = None,
        masks: Tensor | None = None,
    ) -> None:
        self.config, self.folder, self.device, self.display = config, folder, device, display
        self.ranks = ranks = Ranks() if ranks is None else ranks
        self.names = splits.train.names
        stream = TrainingStream(len(splits.train), config.batch_size, config.seed, ranks.rank, ranks.world)
        packed = self.segmented_once(splits, segmenter) if masks is None else pack_all(masks)
        self.source = open_source(splits.train.images, packed, stream, device, config.device_budget)
        self.twins = Twins(
            config, stream.share, device, segmenter, own_parts(config.batch_parts, ranks.world)
        )
        self.network = build_network(config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = build_optimizer(self.network, config)
        self.clock = StepClock(device)
        dtype = compute_dtype(config.precision, device)
        network: Any = in_parallel(self.network, ranks, device, config.batch_parts)
        if config.compile:
            network = torch.compile(network)
        self.training_step = TrainingStep(network, self.optimizer, self.twins, dtype, self.clock)
        foreign = segmenter is not None and packed is None  # what it does on the host would happen once only
        if not foreign and wants_graph(config, device, ranks):
            self.training_step.capture_with(
                lambda compute: GraphedStep(
                    compute, CudaRecorder(device), strict=config.cuda_graph is True, say=display.line
                )
            )
        self.validator = Validator(config, self.source.images, splits.validation, folder, device, ranks)
        self.progress = Progress()
        stored = ranks.from_leader(lambda: read_checkpoint(folder.checkpoint, display.line))
        if stored is not None:
            self.progress = restore_checkpoint(
                stored, self.network, self.optimizer, self.training_step.scaler
            )
        if ranks.leads:
            folder.settle_model(self.progress.best_model)
        self.saved_at = time.monotonic()
        self.tally = Tally(min(config.log_every, _MOST_STEPS_UNSEEN), device)
        self.window: list[tuple[float, int]] = []  # loss and correct answers of the steps since the last line

    def run(self) -> Progress:
        """Trains to the end.

        Raises:
            Interrupted: SIGINT or SIGTERM came; the state is saved.
            ValueError: the loss became infinite or NaN.
        """
        agreement = Agreement(self.ranks)
        with contextlib.closing(self.source), StopRequest() as stop:
            if self.ranks.leads and self.config.augmenter.trains and not self.folder.gallery.exists():
                self.save_gallery()
            if not self.progress.validations:
                self.validate(epochs_done=0)
                self.save()
            while self.progress.step < self.config.total_steps:
                self.train_step()
                if self.progress.step % self.config.steps_per_epoch == 0:
                    self.end_epoch(self.progress.step // self.config.steps_per_epoch)
                signal_number, due = agreement(stop.received or 0, self.checkpoint_is_due())
                if due or signal_number:
                    self.save()
                if signal_number:
                    raise Interrupted(
                        f"Stopped after step {self.progress.step} of {self.config.total_steps}; "
                        "the same command continues the run.",
                        signal_number,
                    )
            agreement.close()
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

    def train_step(self) -> None:
        """The next step. Synchronises only to log, or where the tally is full."""
        step = self.progress.step
        self.clock.mark()
        raw = self.source.batch(step)
        result = self.training_step(raw, self.config.learning_rate_at(step // self.config.steps_per_epoch))
        self.tally.note(result)
        self.progress.step += 1
        if self.progress.step % self.config.log_every == 0:
            self.log()
        elif self.tally.full:
            self.collect()
        self.display.advance(self.progress.step)

    def end_epoch(self, epochs_done: int) -> None:
        """Notes the epoch's means, validates where it is time to, and writes a checkpoint."""
        self.collect()
        steps = self.config.steps_per_epoch
        record = {
            "epoch": epochs_done,
            "loss": self.progress.loss_sum / steps,
            "accuracy": self.progress.correct / (steps * self.classified),
            "learning_rate": self.config.learning_rate_at(epochs_done - 1),
        }
        self.progress.epochs.append(record)
        self.display.epoch(record)
        self.progress.loss_sum, self.progress.correct = 0.0, 0
        if self.config.validates_after(epochs_done - 1):
            self.validate(epochs_done)
        self.save()

    def validate(self, epochs_done: int) -> None:
        """Scores the validation set and shows the result."""
        self.display.validation(epochs_done, self.validator(self.network, self.progress, epochs_done))

    def log(self) -> None:
        """Shows the steps since the last line. Synchronises."""
        self.collect()
        losses, correct = zip(*self.window, strict=True)
        images, epoch = self.classified, (self.progress.step - 1) // self.config.steps_per_epoch
        self.display.log(
            step=self.progress.step,
            loss=sum(losses) / len(losses),
            accuracy=sum(correct) / (len(correct) * images),
            learning_rate=self.config.learning_rate_at(epoch),
            images=images,
            step_ms=self.progress.step_ms[-len(losses) :],
            augmentation_ms=self.progress.augmentation_ms[-len(losses) :],
            memory=peak_memory(self.device),
        )
        self.window = []

    @property
    def classified(self) -> int:
        """Images and twins that all ranks classify in a step."""
        return len(self.twins.labels) * self.ranks.world

    def collect(self) -> None:
        """Brings losses and answers, over all ranks, and times into `progress`. Synchronises.

        Raises:
            ValueError: a loss is no number; it names the step and its batch.
        """
        own_losses, own_correct = self.tally.pending()
        losses = (self.ranks.sum(own_losses) / self.ranks.world).tolist()
        correct = self.ranks.sum(own_correct).tolist()
        self.tally.clear()
        first = self.progress.step - len(losses)
        for step, loss in enumerate(losses, start=first):
            if not math.isfinite(loss):
                raise self.ranks.from_leader(
                    partial(diverged, self.config, self.folder, self.names, step, loss)
                )
            self.progress.loss_sum += loss  # in float64, step by step, wherever a run was interrupted
        self.progress.correct += sum(correct)
        self.window += zip(losses, correct, strict=True)
        for times in self.clock.drain():
            self.progress.step_ms.append(sum(times))
            if len(times) == _TIMED_PARTS:
                self.progress.augmentation_ms.append(times[1])

    def checkpoint_is_due(self) -> bool:
        """Whether a state should be kept within an epoch."""
        if self.progress.step % self.config.steps_per_epoch == 0:
            return False  # it was saved just now
        every = self.config.checkpoint_every
        if every and self.progress.step % every == 0:
            return True
        return time.monotonic() - self.saved_at >= self.config.checkpoint_seconds

    def save(self) -> None:
        """Writes the checkpoint; with it the best network so far is kept."""
        self.collect()
        if self.ranks.leads:
            scaler = self.training_step.scaler
            save_checkpoint(self.folder.checkpoint, self.network, self.optimizer, self.progress, scaler)
            self.folder.keep_model()
        self.saved_at = time.monotonic()

    def save_gallery(self) -> None:
        """Draws what the first images of the first step become."""
        first = self.source.batch(0)
        rows = slice(self.config.gallery_rows)
        self.twins.save_gallery(self.folder.gallery, *(tensor[rows] for tensor in first.tensors()))


def wants_graph(config: TrainConfig, device: torch.device, ranks: Ranks) -> bool:
    """Whether steps should be captured in a CUDA graph.

    Raises:
        ValueError: the config insists on it where there can be none.
    """
    if config.cuda_graph and ranks.shares:
        raise ValueError("cuda_graph true does not go with several ranks; leave --cuda_graph out.")
    possible = device.type == "cuda" and _extension.has_cuda_kernels() and not ranks.shares
    if config.cuda_graph and not possible:
        raise ValueError("cuda_graph true needs a GPU and the compiled CUDA kernels; leave --cuda_graph out.")
    float16 = config.precision == "float16"
    return possible and config.cuda_graph is not False and not float16 and not config.compile


def build_network(config: TrainConfig) -> AnatPasteNet:
    """The network before training, on the CPU; a function of the config alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        method = config.augmenter
        widths = (*HEAD_WIDTHS[:-1], method.classes)
        expected = published_normalisation(config.backbone) if method.imagenet_input else GREY
        network = AnatPasteNet(config.backbone, widths, normalisation=expected, image_size=config.image_size)
    if config.weights is not None:
        network.load_weights(config.weights)
    return network
