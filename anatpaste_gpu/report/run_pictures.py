"""The PNG files in a run folder: the gallery at its start, ROC curve and histogram at its end."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from anatpaste_gpu.evaluation.evaluate import ScoredSplit
from anatpaste_gpu.report.augmentation_plot import augmentation_plot
from anatpaste_gpu.report.gallery import COLUMNS, save_gallery
from anatpaste_gpu.report.score_plots import save_histogram, save_plot, save_roc
from anatpaste_gpu.runs import RunFolder
from anatpaste_gpu.scorers.calibration import Calibration


class RunPictures:
    """Draws a run's pictures into its folder, as `anatpaste_gpu.training.train(pictures=)` asks for them."""

    def gallery(self, folder: RunFolder, examples: Mapping[str, Tensor]) -> None:
        """Draws `Learner.examples`; with masks and pasted shapes where there are any."""
        if tuple(examples) == COLUMNS:
            save_gallery(folder.gallery, *examples.values())
        else:
            save_plot(augmentation_plot(examples), folder.gallery)

    def scores(
        self,
        folder: RunFolder,
        test: ScoredSplit,
        calibration: Calibration,
        auc_interval: tuple[float, float] | None,
        title: str,
    ) -> None:
        """Draws the histogram of a test set's scores and, where both classes are there, the ROC curve."""
        if test.labels.any():
            save_roc(folder.roc, test.labels, test.scores, calibration, auc_interval, title)
        save_histogram(folder.histogram, test.labels, test.scores, calibration, title)
