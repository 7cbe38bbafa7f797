"""Scoring the validation set during training, and keeping the best network."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

from anatpaste_gpu.data import ImageSet
from anatpaste_gpu.evaluation.detector import Detector, embed
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
    ) -> None:
        check_scored(validation.labels.numpy(), np.zeros(len(validation)))
        self._config, self._training_images, self._validation, self._folder, self._device = (
            config,
            training_images,
            validation,
            folder,
            device,
        )

    def __call__(self, network: AnatPasteNet, progress: Progress, epochs_done: int) -> float:
        """Scores, notes the result in `progress`, and keeps the network where it is the best so far.

        The untrained network (0 epochs done) is scored for comparison, and kept only where the method trains
        none. Synchronises.

        Returns:
            The area under the ROC curve.
        """
        config = self._config
        embeddings = embed(network, self._training_images, self._device, config.memory_budget)
        detector = Detector(
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
        scores = detector.score_on_device(self._validation.images)
        area = float(auc_by_ranks(self._validation.labels.to(scores.device), scores))
        progress.validations.append({"epoch": epochs_done, "auc": area})
        if (epochs_done > 0 or not config.total_steps) and area > progress.best_auc:
            progress.best_auc, progress.best_epoch = area, epochs_done
            detector.calibration = Calibration.fit(self._validation.labels.numpy(), scores.cpu().numpy())
            source = {
                "method": config.method,
                "dataset": config.dataset,
                "seed": config.seed,
                "epoch": epochs_done,
            }
            detector.save(self._folder.next_model, {**source, "recipe_hash": config.recipe_hash()})
            progress.best_model = hashlib.sha256(self._folder.next_model.read_bytes()).hexdigest()
        return area
