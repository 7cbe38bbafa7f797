"""Scoring the validation set during training, and keeping the best detector."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from anatpaste_gpu.data import ImageSet
from anatpaste_gpu.data.sets import NORMAL
from anatpaste_gpu.evaluation.ranking import auc_by_ranks
from anatpaste_gpu.files import sha256_of
from anatpaste_gpu.methods import Detector, Learner
from anatpaste_gpu.methods.heat_scale import normal_level
from anatpaste_gpu.runs import RunFolder, TrainConfig
from anatpaste_gpu.runs.checkpoint import Progress
from anatpaste_gpu.scorers.calibration import Calibration, check_scored

# Images that are scored together, so that a rank forms the batches that one process would.
_BLOCK = 64


class Validator:
    """Scores the validation set; the best detector so far becomes model.safetensors with the next checkpoint.

    Args:
        config: the recipe.
        learner: prepared; its ranks share the work.
        training_images: uint8 (N, 1, S, S) on any device, which it is fitted to.
        validation: both classes, or normal images and what stands for abnormal ones.
        folder: where the best detector is written.

    Raises:
        ValueError: a class is missing.
    """

    def __init__(
        self,
        config: TrainConfig,
        learner: Learner,
        training_images: Tensor,
        validation: ImageSet,
        folder: RunFolder,
    ) -> None:
        check_scored(validation.labels.numpy(), np.zeros(len(validation)))
        self._config, self._learner, self._folder = config, learner, folder
        self._training_images, self._validation = training_images, validation

    def __call__(self, progress: Progress, epochs_done: int) -> float:
        """Scores, notes the result in `progress`, and keeps the detector where it is the best so far.

        The untrained learner (0 epochs done) is scored for comparison, and kept only where the method trains
        nothing. Synchronises.

        Returns:
            The area under the ROC curve.
        """
        learner = self._learner.eval()
        with torch.no_grad():
            learner.fit(self._training_images)
            learner.settle(self._validation.images[self._validation.labels == 0])
            scores = learner.engine.rows(learner.score, self._validation.images, _BLOCK)
        area = float(auc_by_ranks(self._validation.labels.to(scores.device), scores))
        progress.validations.append({"epoch": epochs_done, "auc": area})
        if (epochs_done > 0 or not self._config.total_steps) and area > progress.best_auc:
            progress.best_auc, progress.best_epoch = area, epochs_done
            if learner.engine.ranks.leads:
                labels, by_normals = self._validation.labels.numpy(), not self._config.recipe.is_labelled
                calibration = Calibration.fit(labels, scores.cpu().numpy(), by_normals=by_normals)
                level = normal_level(learner, self._validation.images[self._validation.labels == NORMAL])
                progress.best_model = self._write(Detector(learner, calibration, level), epochs_done)
        return area

    def _write(self, detector: Detector, epochs_done: int) -> str:
        """Writes the next model; returns the SHA-256 of its file."""
        recipe = self._config.recipe
        source = {
            "method": recipe.method,
            "dataset": recipe.dataset,
            "seed": recipe.seed,
            "epoch": epochs_done,
        }
        detector.save(self._folder.next_model, {**source, "recipe_hash": self._config.recipe_hash()})
        return sha256_of(self._folder.next_model)
