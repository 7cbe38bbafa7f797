"""The training loop."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from anatpaste_gpu.augmentation import batch_augment, image_jitter
from anatpaste_gpu.data import DatasetSplits
from anatpaste_gpu.devices import compute_dtype
from anatpaste_gpu.evaluation.detector import Detector, embed
from anatpaste_gpu.evaluation.gallery import save_gallery
from anatpaste_gpu.evaluation.metrics import Calibration, auc
from anatpaste_gpu.model import AnatPasteNet
from anatpaste_gpu.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from anatpaste_gpu.training.clock import StepClock
from anatpaste_gpu.training.config import TrainConfig
from anatpaste_gpu.training.display import Display
from anatpaste_gpu.training.interrupt import Interrupted, StopRequest
from anatpaste_gpu.training.order import TrainingStream
from anatpaste_gpu.training.run_folder import RunFolder


class Trainer:
    """Trains one network from its first or its next step to its last.

    The whole training set lies on the device as uint8. What a step computes follows from the state after the
    step before it and from the number of the step; no random generator has a state. So a continued run equals
    an uninterrupted one, to the bit on a CPU with the same number of threads.

    Args:
        config: the recipe.
        splits: the images.
        folder: begun; a checkpoint in it is continued.
        device: where to train.
        display: what the user sees.
    """

    def __init__(
        self,
        config: TrainConfig,
        splits: DatasetSplits,
        folder: RunFolder,
        device: torch.device,
        display: Display,
    ) -> None:
        self.config, self.splits, self.folder, self.device, self.display = (
            config,
            splits,
            folder,
            device,
            display,
        )
        self.dtype = compute_dtype(config.precision, device)
        self.images = splits.train.images.to(device)
        self.stream = TrainingStream(len(splits.train), config.batch_size, config.seed)
        self.labels = torch.arange(2, device=device).repeat_interleave(config.batch_size)
        self.network = build_network(config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.progress = Progress()
        if folder.checkpoint.exists():
            self.progress = load_checkpoint(folder.checkpoint, self.network, self.optimizer)
        self.clock = StepClock(device)
        self.loss_sum = torch.tensor(self.progress.loss_sum, dtype=torch.float64, device=device)
        self.correct = torch.tensor(self.progress.correct, device=device)

    def run(self) -> Progress:
        """Trains to the end.

        Raises:
            Interrupted: SIGINT or SIGTERM came; the state is saved.
            ValueError: the loss became infinite or NaN.
        """
        with StopRequest() as stop:
            if not self.folder.gallery.exists():
                self.save_gallery()
            if not self.progress.validations:
                self.validate(epochs_done=0)
            while self.progress.step < self.config.total_steps:
                self.train_step(self.progress.step)
                self.progress.step += 1
                if self.progress.step % self.config.steps_per_epoch == 0:
                    self.end_epoch(self.progress.step // self.config.steps_per_epoch)
                if stop.received is not None:
                    self.save()
                    raise Interrupted(
                        f"Stopped after step {self.progress.step} of {self.config.total_steps}; "
                        "the same command continues the run.",
                        stop.received,
                    )
        return self.progress

    def train_step(self, step: int) -> None:
        """One step: augment, classify image against twin (equation 2), update. Synchronises only to log."""
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate_at(step // self.config.steps_per_epoch)
        self.clock.mark()
        batch = self.twins(step)
        self.clock.mark()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            logits = self.network(batch).float()
        loss = functional.cross_entropy(logits, self.labels)
        loss.backward()
        self.optimizer.step()
        self.loss_sum += loss.detach()
        self.correct += (logits.detach().argmax(1) == self.labels).sum()
        self.clock.mark()
        self.clock.end_step()
        if (step + 1) % self.config.log_every == 0:
            self.log()
        self.display.advance(step + 1)

    def twins(self, step: int) -> Tensor:
        """The step's batch: uint8 (2 B, 1, S, S), first the images, then their augmented twins.

        Both twins share one image jitter, so that it tells the network nothing.
        """
        rows, index = (part.to(self.device, non_blocking=True) for part in self.stream.batch(step))
        draws: dict[str, Any] = {"seed": self.config.seed, "index": index, "config": self.config.augmentation}
        images = image_jitter(self.images[rows], **draws)
        return torch.cat([images, batch_augment(images, **draws)])

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
            "accuracy": self.progress.correct / (steps * len(self.labels)),
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
        """Scores the validation set; the best network so far becomes model.safetensors.

        The untrained network (0 epochs done) is scored for comparison and never kept.
        """
        embeddings = embed(self.network, self.images, self.device)
        detector = Detector(
            self.network, embeddings, self.config.image_size, self.config.backbone, self.config.bandwidth
        )
        labels = self.splits.validation.labels.numpy()
        scores = detector.score(self.splits.validation.images)
        area = auc(labels, scores)
        self.progress.validations.append({"epoch": epochs_done, "auc": area})
        self.display.validation(epochs_done, area)
        if epochs_done > 0 and area > self.progress.best_auc:
            self.progress.best_auc, self.progress.best_epoch = area, epochs_done
            detector.calibration = Calibration.fit(labels, scores)
            source = {"dataset": self.config.dataset, "seed": self.config.seed, "epoch": epochs_done}
            detector.save(self.folder.model, {**source, "recipe_hash": self.config.recipe_hash()})

    def log(self) -> None:
        """Shows the running means of the epoch. Synchronises."""
        self.collect()
        done = self.progress.step % self.config.steps_per_epoch + 1
        self.display.log(
            step=self.progress.step + 1,
            loss=self.progress.loss_sum / done,
            accuracy=self.progress.correct / (done * len(self.labels)),
            learning_rate=self.optimizer.param_groups[0]["lr"],
            step_ms=self.progress.step_ms[-self.config.log_every :],
            augmentation_ms=self.progress.augmentation_ms[-self.config.log_every :],
        )

    def collect(self) -> None:
        """Brings sums and times from the device into `progress`. Synchronises."""
        self.progress.loss_sum, self.progress.correct = float(self.loss_sum), int(self.correct)
        for augmentation, rest in self.clock.drain():
            self.progress.augmentation_ms.append(augmentation)
            self.progress.step_ms.append(augmentation + rest)

    def save(self) -> None:
        """Writes the checkpoint."""
        self.collect()
        save_checkpoint(self.folder.checkpoint, self.network, self.optimizer, self.progress)

    def save_gallery(self) -> None:
        """Draws what the first images of the first step become."""
        rows, index = (part[: self.config.gallery_rows].to(self.device) for part in self.stream.batch(0))
        draws: dict[str, Any] = {"seed": self.config.seed, "index": index, "config": self.config.augmentation}
        images = image_jitter(self.images[rows], **draws)
        results, aux = batch_augment(images, return_aux=True, **draws)
        save_gallery(self.folder.gallery, images, aux.lung_masks, aux.figure_masks, results)


def build_network(config: TrainConfig) -> AnatPasteNet:
    """The network before training, on the CPU; a function of the config alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = AnatPasteNet(config.backbone)
    if config.weights is not None:
        network.load_weights(config.weights)
    return network
