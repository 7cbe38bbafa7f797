"""Images and their AnatPaste twins for Lightning, made on the device that trains. Tried with Lightning 2.6.6.

    pip install lightning
    python examples/lightning_twins.py --steps 40

`Twins` is a data module of any data set of this package: each batch is moved first and augmented there, with
draws that follow from seed, image and epoch alone. `DensityAuc` scores the validation set after each epoch.
`Pretext` is the least module that learns from them.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import resnet18

import anatpaste_gpu
from anatpaste_gpu.data import DatasetSplits, load_dataset
from anatpaste_gpu.evaluation import auc


class Twins(LightningDataModule):
    """Batches of images and twins: float (2B, 1, S, S) in [0, 1], and labels int64 (2B,), 1 for a twin.

    Args:
        splits: from `load_dataset`; its normal training images are what is augmented.
        batch_size: images a batch, each with its twin.
        seed: of the draws.
    """

    def __init__(self, splits: DatasetSplits, batch_size: int = 64, seed: int = 0) -> None:
        super().__init__()
        self.splits, self.batch_size, self.seed = splits, batch_size, seed

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Images, uint8, with their numbers."""
        images = self.splits.train.images
        numbered = TensorDataset(images, torch.arange(len(images)))
        return DataLoader(numbered, self.batch_size, shuffle=True, drop_last=True)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """The twins, where the images are by now. (Lightning's hook.)"""
        images, index = batch
        epoch = self.trainer.current_epoch if self.trainer is not None else 0
        twins = anatpaste_gpu.batch_augment(images, seed=self.seed, index=index, step=epoch)
        labels = torch.arange(2, device=images.device).repeat_interleave(len(images))
        return torch.cat([images, twins]).float() / 255, labels


class DensityAuc(Callback):
    """After each epoch, the AUC of a density of normal embeddings on the validation set, as `density_auc`."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Scores and logs. (Lightning's hook.)"""
        splits = trainer.datamodule.splits  # type: ignore[attr-defined]
        density = anatpaste_gpu.KernelDensity().fit(embedded(pl_module, splits.train.images))
        scores = -density.score_samples(embedded(pl_module, splits.validation.images))
        pl_module.log("density_auc", auc(splits.validation.labels.numpy(), scores.cpu().numpy()))


class Pretext(LightningModule):
    """ResNet18 that tells an image from its twin."""

    def __init__(self, learning_rate: float = 0.03) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.network, self.head = resnet18(), nn.Linear(512, 2)
        self.network.fc = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """float (B, 1, S, S) in [0, 1] to embeddings (B, 512)."""
        embeddings: Tensor = self.network((images.expand(-1, 3, -1, -1) - 0.5) / 0.5)
        return embeddings

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross entropy."""
        images, labels = batch
        loss = functional.cross_entropy(self.head(self(images)), labels)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD, as the paper has it."""
        return torch.optim.SGD(self.parameters(), self.learning_rate, momentum=0.9, weight_decay=3e-5)


@torch.no_grad()
def embedded(module: LightningModule, images: Tensor) -> Tensor:
    """Embeddings of uint8 images, of length 1."""
    training = module.training
    module.eval()
    parts = [module(block.to(module.device).float() / 255) for block in images.split(64)]
    module.train(training)
    return functional.normalize(torch.cat(parts))


def main() -> None:
    """A few steps on phantoms."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40, help="training steps (default 40)")
    options = parser.parse_args()
    splits = load_dataset("demo", image_size=64, progress=False, train_size=64, validation_size=32)
    trainer = Trainer(
        max_steps=options.steps, callbacks=[DensityAuc()], logger=False, enable_checkpointing=False
    )
    trainer.fit(Pretext(), datamodule=Twins(splits, batch_size=16))
    print(f"AUC on {len(splits.validation)} phantoms: {trainer.callback_metrics['density_auc']:.3f}")


if __name__ == "__main__":
    main()
