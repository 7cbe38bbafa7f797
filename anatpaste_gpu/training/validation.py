"""Scoring the validation set during training, and keeping the best network."""

from __future__ import annotations

import hashlib
from functools import partial

import numpy as np
import torch
from torch import Tensor

from anatpaste_gpu.data import ImageSet
from anatpaste_gpu.distributed import Ranks
from anatpaste_gpu.distributed.density import embed_share, shared_log_density
from anatpaste_gpu.evaluation.detector import Detector, elements_within, embed
from anatpaste_gpu.evaluation.metrics import Calibration, check_scored
from anatpaste_gpu.evaluation.ranking import auc_by_ranks
from anatpaste_gpu.model import AnatPasteNet
from anatpaste_gpu.training.checkpoint import Progress
from anatpaste_gpu.training.config import TrainConfig
from anatpaste_gpu.training.run_folder import RunFolder


class Validator:
    """Scores the validation set; the best network so far becomes model.safetensors with the next checkpoint.

    Args:
        config: the recipe.
        training_images: uint8 (N, 1, S, S) on any device, which the density is fitted to.
        validation: both classes.
        folder: where the best network is written.
        device: where to compute.
        ranks: who shares the work; each embeds a part of the images and holds a part of the density.

    Raises:
        ValueError: a class is missing.
    """

    def __init__(
        self,
        config: TrainConfig,
        training_images: Tensor,
        validation: ImageSet,
        folder: RunFolder,
        device: torch.device,
        ranks: Ranks,
    ) -> None:
        check_scored(validation.labels.numpy(), np.zeros(len(validation)))
        self._config, self._training_images, self._validation, self._folder, self._device = (
            config,
            training_images,
            validation,
            folder,
            device,
        )
        self._ranks = ranks

    def __call__(self, network: AnatPasteNet, progress: Progress, epochs_done: int) -> float:
        """Scores, notes the result in `progress`, and keeps the network where it is the best so far.

        The untrained network (0 epochs done) is scored for comparison, and kept only where the method trains
        none. Synchronises.

        Returns:
            The area under the ROC curve.
        """
        detector, scores = self._share(network) if self._ranks.world > 1 else self._alone(network)
        area = float(auc_by_ranks(self._validation.labels.to(scores.device), scores))
        progress.validations.append({"epoch": epochs_done, "auc": area})
        if (epochs_done > 0 or not self._config.total_steps) and area > progress.best_auc:
            progress.best_auc, progress.best_epoch = area, epochs_done
            if detector is not None:
                detector.calibration = Calibration.fit(self._validation.labels.numpy(), scores.cpu().numpy())
                progress.best_model = self._write(detector, epochs_done)
        return area

    def _alone(self, network: AnatPasteNet) -> tuple[Detector, Tensor]:
        embeddings = embed(network, self._training_images, self._device, self._config.memory_budget)
        detector = self._detector(network, embeddings)
        return detector, detector.score_on_device(self._validation.images)

    def _share(self, network: AnatPasteNet) -> tuple[Detector | None, Tensor]:
        """Scores on every rank, the detector with all embeddings on rank 0 alone."""
        ranks, device, budget = self._ranks, self._device, self._config.memory_budget
        training, lengths = embed_share(network, self._training_images, device, ranks, budget)
        queries = ranks.concatenate(*embed_share(network, self._validation.images, device, ranks, budget))
        everything = ranks.concatenate(training, lengths)
        detector = self._detector(network, everything) if ranks.leads else None
        if self._config.scorer == "kde":
            log_density = shared_log_density(
                training, queries, sum(lengths), ranks, self._config.bandwidth, elements_within(budget)
            )
            return detector, -log_density
        return detector, ranks.from_leader(partial(_score, detector, queries)).to(device)

    def _detector(self, network: AnatPasteNet, embeddings: Tensor) -> Detector:
        config = self._config
        return Detector(
            network,
            embeddings,
            config.image_size,
            config.backbone,
            config.bandwidth,
            scorer=config.scorer,
            neighbours=config.neighbours,
            neighbour_distance=config.neighbour_distance,
            memory_budget=config.memory_budget,
        )

    def _write(self, detector: Detector, epochs_done: int) -> str:
        """Writes the next model; returns the SHA-256 of its file."""
        config = self._config
        source = {
            "method": config.method,
            "dataset": config.dataset,
            "seed": config.seed,
            "epoch": epochs_done,
        }
        detector.save(self._folder.next_model, {**source, "recipe_hash": config.recipe_hash()})
        return hashlib.sha256(self._folder.next_model.read_bytes()).hexdigest()


def _score(detector: Detector | None, queries: Tensor) -> Tensor:
    assert detector is not None, "rank 0 has the detector"
    return detector.score_embeddings(queries).cpu()
