"""The training loop, read downwards: input, step, log, validation, checkpoint."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from anatpaste_gpu.data import DatasetSplits
from anatpaste_gpu.data.corners import without_corners
from anatpaste_gpu.devices import compute_dtype, peak_memory
from anatpaste_gpu.distributed import Agreement, Engine, Ranks
from anatpaste_gpu.methods import Learner
from anatpaste_gpu.runs import RunFolder, TrainConfig
from anatpaste_gpu.runs.checkpoint import (
    Progress,
    read_checkpoint,
    restore_checkpoint,
    state_of,
    write_checkpoint,
)
from anatpaste_gpu.runs.step_times import StepTime, StepTimes
from anatpaste_gpu.training.background import StateWriter
from anatpaste_gpu.training.display import Display
from anatpaste_gpu.training.guards import Interrupted, StopRequest, diverged
from anatpaste_gpu.training.input import TrainingStream, open_source
from anatpaste_gpu.training.step import (
    CudaRecorder,
    GraphedStep,
    MetricBuffer,
    StepClock,
    TrainingStep,
    wants_graph,
)
from anatpaste_gpu.training.validation import Validator

#: Draws what a step makes of its first images into a file.
DrawGallery = Callable[[RunFolder, Mapping[str, Tensor]], None]
#: The most steps between two looks at the losses; a run whose loss is no number goes on for as many at most.
_MOST_STEPS_UNSEEN = 1024
# Input, augmentation, and the rest; a step within a CUDA graph has no moment between the last two.
_TIMED_PARTS = 3


def build_engine(config: TrainConfig, device: torch.device, ranks: Ranks, clock: StepClock) -> Engine:
    """The machine as a config asks for it."""
    schedule = config.recipe.schedule
    return Engine(
        device,
        compute_dtype(schedule.precision, device),
        ranks,
        schedule.batch_parts,
        schedule.compile,
        config.place.memory_budget,
        clock.mark,
    )


class Trainer:
    """Trains one learner from its first or its next step to its last.

    What a step computes follows from the state after the step before it and from the number of the step; no
    random generator has a state. So a continued run equals an uninterrupted one, to the bit on a CPU with the
    same number of threads.

    Ranks that share the run take equal parts of every batch; gradients and batch statistics are those of the
    whole batch, so that the run differs from one process's by rounding alone, and with as many
    `batch_parts` not at all.

    Args:
        config: the recipe and the place.
        learner: prepared by an engine of `build_engine`.
        splits: the images.
        folder: begun; a checkpoint in it is continued.
        display: what the user sees.
        clock: the engine's.
        masks: bool (N, 1, S, S) of the training images, from files, or None.
        draw_gallery: draws the first images; None draws nothing.
    """

    def __init__(
        self,
        config: TrainConfig,
        learner: Learner,
        splits: DatasetSplits,
        folder: RunFolder,
        display: Display,
        clock: StepClock,
        *,
        masks: Tensor | None = None,
        draw_gallery: DrawGallery | None = None,
    ) -> None:
        self.config, self.learner, self.folder, self.display = config, learner, folder, display
        self.schedule, self.place = config.recipe.schedule, config.place
        self.device, self.ranks = learner.engine.device, learner.engine.ranks
        self.names, self.clock, self.draw_gallery = splits.train.names, clock, draw_gallery
        companions = learner.precompute(splits.train.images, masks, self.track)
        self.source = open_source(
            splits.train.images, companions, self.stream(), self.device, self.place.device_budget
        )
        self.optimizers = learner.optimizers()
        self.training_step = TrainingStep(learner, self.optimizers, clock)
        if wants_graph(config, learner):
            strict = self.place.cuda_graph is True
            self.training_step.capture_with(
                lambda compute: GraphedStep(
                    compute, CudaRecorder(self.device), strict=strict, say=display.line
                )
            )
        self.validator = Validator(config, learner, self.source.images, splits.validation, folder)
        self.progress = self.restored()
        self.times = StepTimes(folder.step_times if self.ranks.leads else None, self.progress.step)
        self.writer = StateWriter(self.device)
        self.saved_at = time.monotonic()
        self.metrics = MetricBuffer(min(self.place.log_every, _MOST_STEPS_UNSEEN), self.device)
        self.window: list[dict[str, float]] = []  # metrics of the steps since the last line

    def run(self) -> Progress:
        """Trains to the end.

        Raises:
            Interrupted: SIGINT or SIGTERM came; the state is saved.
            ValueError: the loss became infinite or NaN.
            OSError: a file cannot be written.
        """
        agreement, total = Agreement(self.ranks), self.config.total_steps
        with contextlib.closing(self.source), StopRequest() as stop, self.writer:
            if self.ranks.leads and total and not self.folder.gallery.exists():
                self.save_gallery()
            if not self.progress.validations:
                self.validate(epochs_done=0)
                self.save()
            while self.progress.step < total:
                self.train_step()
                self.writer.check()
                if self.progress.step % self.schedule.steps_per_epoch == 0:
                    self.end_epoch(self.progress.step // self.schedule.steps_per_epoch)
                signal_number, due = agreement(stop.received or 0, self.checkpoint_is_due())
                if due or signal_number:
                    self.save()
                if signal_number:
                    self.writer.wait()
                    raise Interrupted(
                        f"Stopped after step {self.progress.step} of {total}; the same command continues "
                        "the run.",
                        signal_number,
                    )
            agreement.close()
        return self.progress

    def train_step(self) -> None:
        """The next step. Synchronises only to log, or where the buffer is full."""
        step = self.progress.step
        self.clock.mark()
        batch = self.source.batch(step)
        epoch = step // self.schedule.steps_per_epoch
        share, shares = self.learner.rate_share(epoch), self.learner.rate_shares(epoch)
        self.metrics.note(self.training_step(batch, step, share, shares))
        self.progress.step += 1
        if self.progress.step % self.place.log_every == 0:
            self.log()
        elif self.metrics.full:
            self.collect()
        self.display.advance(self.progress.step)

    def end_epoch(self, epochs_done: int) -> None:
        """Notes the epoch's means, validates where it is time to, and writes a checkpoint."""
        self.collect()
        phase, following = (self.learner.phase(epoch) for epoch in (epochs_done - 1, epochs_done))
        record: dict[str, Any] = {
            "epoch": epochs_done,
            **({} if phase is None else {"phase": phase.name}),
            **self.means(self.progress.sums, self.schedule.steps_per_epoch),
            "learning_rate": self.learning_rate(epochs_done - 1),
        }
        self.progress.epochs.append(record)
        self.display.epoch(record)
        self.progress.sums = {}
        if self.schedule.validates_after(epochs_done - 1) and (phase is None or phase.scores):
            self.validate(epochs_done)
        if phase != following and self.window:
            self.log()  # a line has the figures of one phase
        self.save()

    def validate(self, epochs_done: int) -> None:
        """Scores the validation set and shows the result."""
        # What writes the state before may still rename the best detector, of which a better one comes here.
        self.writer.wait()
        self.display.validation(epochs_done, self.validator(self.progress, epochs_done))

    def log(self) -> None:
        """Shows the steps since the last line. Synchronises."""
        self.collect()
        sums = {name: sum(metrics[name] for metrics in self.window) for name in self.window[0]}
        steps = len(self.window)
        self.display.log(
            step=self.progress.step,
            metrics=self.means(sums, steps),
            phase=self.learner.phase((self.progress.step - 1) // self.schedule.steps_per_epoch),
            learning_rate=self.learning_rate((self.progress.step - 1) // self.schedule.steps_per_epoch),
            images=self.samples,
            step_ms=self.times.step_ms[-steps:],
            augmentation_ms=self.times.augmentation_ms[-steps:],
            memory=peak_memory(self.device),
        )
        self.window = []

    def collect(self) -> None:
        """Brings the steps' metrics, over all ranks, and times into `progress`. Synchronises.

        Raises:
            ValueError: a loss is no number; it names the step and its batch.
        """
        steps = self.metrics_of_steps()
        self.metrics.clear()
        first = self.progress.step - len(steps)
        for step, metrics in enumerate(steps, start=first):
            if not math.isfinite(metrics["loss"]):
                raise self.ranks.from_leader(
                    partial(diverged, self.config, self.folder, self.names, step, metrics["loss"])
                )
            for name, value in metrics.items():  # step by step, wherever a run was interrupted
                self.progress.sums[name] = self.progress.sums.get(name, 0) + value
        self.window += steps
        for step, times in enumerate(self.clock.drain(), start=first + 1):
            self.times.note(StepTime(step, sum(times), times[1] if len(times) == _TIMED_PARTS else None))

    def metrics_of_steps(self) -> list[dict[str, float]]:
        """Of each step since the last look: means over the ranks, and counts of all of them."""
        columns: dict[str, list[float]] = {}
        for name, values in self.metrics.pending().items():
            total = self.ranks.sum(values)
            columns[name] = (total / self.ranks.world if total.is_floating_point() else total).tolist()
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def means(self, sums: Mapping[str, float], steps: int) -> dict[str, float]:
        """Metrics of several steps: means, and of counts the share of all samples."""
        return {
            name: value / (steps * self.samples if isinstance(value, int) else steps)
            for name, value in sums.items()
        }

    def checkpoint_is_due(self) -> bool:
        """Whether a state should be kept within an epoch."""
        if self.progress.step % self.schedule.steps_per_epoch == 0:
            return False  # it was saved just now
        every = self.place.checkpoint_every
        if every and self.progress.step % every == 0:
            return True
        return time.monotonic() - self.saved_at >= self.place.checkpoint_seconds

    def save(self) -> None:
        """Lets the checkpoint be written while training goes on; with it the best detector so far is kept.

        Waits for the checkpoint before, where that is not written yet.
        """
        self.collect()
        if self.ranks.leads:
            state = state_of(self.learner, self.optimizers, self.progress, self.learner.engine.scaler)
            self.writer.save(state, partial(self.write, self.times.take()))
        self.saved_at = time.monotonic()

    def write(self, times: Sequence[StepTime], state: Mapping[str, Any]) -> None:
        """Writes a state, after the times of its steps and before its detector gets the name of the best."""
        self.times.append(times)
        write_checkpoint(self.folder.checkpoint, state)
        self.folder.keep_model()

    def restored(self) -> Progress:
        """The state of the folder's run, put back into learner and optimisers, or a new run's."""
        stored = self.ranks.from_leader(lambda: read_checkpoint(self.folder.checkpoint, self.display.line))
        progress = Progress()
        if stored is not None:
            scaler = self.learner.engine.scaler
            progress = restore_checkpoint(stored, self.learner, self.optimizers, scaler)
        if self.ranks.leads:
            self.folder.settle_model(progress.best_model)
        return progress

    def save_gallery(self) -> None:
        """Lets what the first images of the first step become be drawn."""
        if self.draw_gallery is None:
            return
        batch = self.source.batch(0).rows(self.config.recipe.gallery_rows)
        # Before the augmentation, which may paste a corner into the middle.
        shown = without_corners(batch.images, self.place.blank_corners)
        examples = self.learner.examples(dataclasses.replace(batch, images=shown))
        if examples:
            self.draw_gallery(self.folder, examples)

    def stream(self) -> TrainingStream:
        """Which images this rank takes in which step."""
        ranks = self.ranks
        return TrainingStream(
            len(self.names), self.schedule.batch_size, self.config.recipe.seed, ranks.rank, ranks.world
        )

    def track(self, numbers: Iterable[int]) -> Iterable[int]:
        """Shows how far a loop before training is."""
        return self.display.track(numbers, "segmenting once")

    def learning_rate(self, epoch: int) -> float:
        """The recipe's learning rate in an epoch, counted from 0."""
        return self.schedule.learning_rate * self.learner.rate_share(epoch)

    @property
    def samples(self) -> int:
        """Images and copies that all ranks look at in a step."""
        return self.learner.samples(self.schedule.batch_size)
