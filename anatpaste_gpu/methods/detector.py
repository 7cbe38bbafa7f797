"""A detector: a fitted learner and its calibration, in one file."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from anatpaste_gpu import arrays
from anatpaste_gpu.checks import one_line
from anatpaste_gpu.data.squares import as_bytes
from anatpaste_gpu.distributed.engine import MEMORY_BUDGET, Engine
from anatpaste_gpu.files import write_atomically
from anatpaste_gpu.methods.heat_scale import HeatScale, is_level, scale_of
from anatpaste_gpu.methods.lookup import get_method, recipe_from_dict, recipe_hash, recipe_identity
from anatpaste_gpu.methods.prediction import Prediction, predicted
from anatpaste_gpu.methods.pretext import released
from anatpaste_gpu.methods.protocol import Learner, State
from anatpaste_gpu.methods.recipe import Recipe
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.scorers.calibration import Calibration

FORMAT = "anatpaste-detector-3"
#: Files of these formats are read.
READABLE_FORMATS = (*released.FORMATS, FORMAT)
#: Thresholds that a detector may know by name.
BEST_F1_THRESHOLD, NORMAL_THRESHOLD = "best-f1", "normals"
_METADATA = "detector"


@dataclasses.dataclass
class Detector:
    """Scores images with a fitted learner, and knows what scores mean.

    Called with images or paths it gives scores, decisions and heat maps under anomalib's names; `predict`,
    `decision_function` and `score_samples` are scikit-learn's, of its outlier detectors, with their signs.

    Attributes:
        learner: fitted, on its engine's device.
        calibration: threshold and extremes from the validation set; None before it was seen.
        heat_level: what `normal_level` found on the validation set's normal images; None before they were
            seen, where the method does not need it, and in files of earlier releases.
        trained_by: hash of the recipe that it was trained by, where its file states it.
    """

    learner: Learner
    calibration: Calibration | None = None
    heat_level: float | None = None
    trained_by: str | None = None

    def __post_init__(self) -> None:
        self.learner.eval()

    @property
    def image_size(self) -> int:
        """Side of the square that images are resized to."""
        return self.learner.recipe.image_size

    @property
    def device(self) -> torch.device:
        """Where scores are computed."""
        return self.learner.engine.device

    @property
    def recipe_hash(self) -> str:
        """SHA-256 of the recipe that it was trained by; of the one without files where that is not stated."""
        return self.trained_by or recipe_hash(self.learner.recipe.without_files())

    @property
    def threshold(self) -> float:
        """An image scored at least this is called abnormal.

        Raises:
            ValueError: there is no calibration yet.
        """
        return self._calibrated.threshold

    def with_threshold(self, asked: float | str | None) -> Detector:
        """The same detector that decides by another threshold.

        Args:
            asked: a score; "best-f1", the best F1 on the validation set; "normals", which leaves 95 % of its
                normal images below; or None for its own.

        Raises:
            ValueError: the model does not know that threshold, or it is none.
        """
        calibration = self._calibrated
        if asked == NORMAL_THRESHOLD:
            return dataclasses.replace(self, calibration=calibration.by_normals())
        if asked == BEST_F1_THRESHOLD and not self.learner.recipe.is_labelled:
            raise ValueError(
                f"threshold {BEST_F1_THRESHOLD} needs abnormal validation images, and this model was trained "
                f"without (validation pasted); threshold {NORMAL_THRESHOLD} is its own."
            )
        if asked is None or asked == BEST_F1_THRESHOLD:
            return self
        if isinstance(asked, (str, bool)) or not math.isfinite(asked):
            raise ValueError(
                f"threshold must be a finite score, {BEST_F1_THRESHOLD} or {NORMAL_THRESHOLD}, got {asked!r}."
            )
        return dataclasses.replace(self, calibration=dataclasses.replace(calibration, threshold=float(asked)))

    def __call__(
        self,
        images: Any,
        *,
        threshold: float | str | None = None,
        anomaly_map: bool = False,
        skip_unreadable: bool = False,
        workers: int | None = None,
    ) -> Prediction:
        """Scores, decisions and, on request, heat maps. Synchronises.

        Args:
            images: a path of a PNG, JPEG or DICOM file or of a folder of them; an array or tensor (H, W),
                (C, H, W) or (B, C, H, W) of any size, C 1 or 3, uint8, uint16 or floating point in [0, 1]; a
                PIL image; or a list of such, which may differ in size. All become what `read_image` makes of
                a file of the same pixels.
            threshold: as `with_threshold` takes it.
            anomaly_map: whether to make heat maps, too.
            skip_unreadable: whether a file that cannot be read is left out and told in `skipped`; else it is
                an error.
            workers: threads that decode, and on a CPU score; they change no result. None for one a core.

        Raises:
            ImageReadError: a file or folder cannot be read; one sentence.
            TypeError: the images are nothing of that kind.
            ValueError: their shape or values are none of images, the threshold is not known, the method has
                no heat maps, or `workers` is below 1.
        """
        decides = self.with_threshold(threshold)
        return predicted(decides, images, maps=anomaly_map, skip_unreadable=skip_unreadable, workers=workers)

    def predict(self, images: Any) -> NDArray[np.int64]:
        """+1 for images called normal and -1 for those called abnormal, as scikit-learn's outlier detectors.

        Args:
            images: as a call takes them.
        """
        return np.where(self(images).pred_label, -1, 1).astype(np.int64)

    def decision_function(self, images: Any) -> NDArray[np.float64]:
        """The threshold less the score, float64 (B,): above 0 is normal; 0 and below is abnormal.

        Args:
            images: as a call takes them.
        """
        difference: NDArray[np.float64] = self.threshold - self(images).pred_score
        return difference

    def score_samples(self, images: Any) -> NDArray[np.float64]:
        """Minus the anomaly score, float64 (B,): higher is more normal, as in scikit-learn.

        Args:
            images: as a call takes them.
        """
        return -self(images).pred_score

    def score(self, images: Any) -> NDArray[np.float64]:
        """Anomaly scores; higher is more abnormal. Synchronises.

        Args:
            images: (B, 1, S, S) on any device, S = `image_size`: uint8, or floating point in [0, 1], which is
                rounded to 255ths, so that it scores as the uint8 image of the same grey. A torch tensor, a
                NumPy array, or any array with DLPack or ``__cuda_array_interface__``.

        Returns:
            float64 (B,).

        Raises:
            TypeError: the images are no array, or of another dtype.
            ValueError: they have another shape, or values outside [0, 1].
        """
        scores: NDArray[np.float64] = self.learner.score(self._checked(images)).cpu().numpy()
        return scores

    def heat_map(self, images: Any) -> Tensor | None:
        """Where the scores come from: float32 (B, 1, h, w), >= 0; None where the method cannot tell.

        Args:
            images: as `score` takes them.
        """
        return self.learner.heat_map(self._checked(images))

    @property
    def heat_scale(self) -> HeatScale | None:
        """What the values of its heat maps are measured by; None where it is not known."""
        return scale_of(self.learner, self.heat_level)

    def embed(self, images: Any) -> Tensor | None:
        """float32 (B, D) embeddings; None where the method has none.

        Args:
            images: as `score` takes them.
        """
        return self.learner.embed(self._checked(images))

    def save(self, path: str | os.PathLike[str], extra: dict[str, Any] | None = None) -> None:
        """Writes one safetensors file, whole or not at all.

        Args:
            path: where to.
            extra: more JSON values for the file's metadata.

        Raises:
            ValueError: there is no calibration yet.
        """
        if self.calibration is None:
            raise ValueError("a detector can be saved only with a calibration.")
        state = self.learner.state()
        content = {
            "format": FORMAT,
            "notice": NOT_FOR_CLINICAL_USE,
            "recipe": recipe_identity(self.learner.recipe.without_files()),
            "values": state.values,
            **dataclasses.asdict(self.calibration),
            "heat_level": self.heat_level,
            **({} if self.trained_by is None else {"recipe_hash": self.trained_by}),
            **(extra or {}),
        }
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
        # One entry, because safetensors writes several in an order that changes from run to run.
        write_atomically(Path(path), safetensors.torch.save(tensors, {_METADATA: json.dumps(content)}))

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        device: torch.device | str = "cpu",
        *,
        memory_budget: int = MEMORY_BUDGET,
    ) -> Detector:
        """Reads what `save` wrote, and model files of earlier releases.

        Args:
            path: the file.
            device: where to score.
            memory_budget: mebibytes that scoring may use at once, beyond images, networks and fitted state.

        Raises:
            ValueError: the file is missing, damaged, or not a detector.
        """
        content, tensors = _read(Path(path))
        try:
            recipe, state = _recipe_and_state(content, tensors)
            engine = Engine(torch.device(device), memory_budget=memory_budget)
            learner = get_method(recipe.method).restored(recipe, state, engine)
            calibration = _calibration(content)
            level = _heat_level(content)
            trained_by = _trained_by(content)
        # Whatever values of other types lead to.
        except (LookupError, TypeError, ValueError, RuntimeError, ArithmeticError, AttributeError) as error:
            raise ValueError(f"{path}: the model file cannot be used ({one_line(error)}).") from error
        return cls(learner, calibration, level, trained_by)

    @property
    def _calibrated(self) -> Calibration:
        if self.calibration is None:
            raise ValueError("a detector decides only with a calibration, which a validation gives it.")
        return self.calibration

    def _checked(self, images: Any) -> Tensor:
        """The images as uint8 (B, 1, S, S)."""
        batch, _ = arrays.as_tensor(images, "images")
        side = self.image_size
        if batch.dim() != 4 or tuple(batch.shape[1:]) != (1, side, side):
            raise ValueError(f"images must have shape (B, 1, {side}, {side}), got {tuple(batch.shape)}.")
        return as_bytes(batch)


def _recipe_and_state(content: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[Recipe, State]:
    if content["format"] in released.FORMATS:
        return released.read_released(content, tensors)
    return recipe_from_dict(content["recipe"]), State(tensors, content["values"])


def _calibration(content: dict[str, Any]) -> Calibration:
    """Raises ValueError where a number is missing or none, or the extremes are not in order."""
    by_normals = content.get("normal_threshold")
    calibration = Calibration(
        _number(content, "threshold"),
        _number(content, "minimum"),
        _number(content, "maximum"),
        None if by_normals is None else _number(content, "normal_threshold"),
    )
    if not calibration.minimum < calibration.maximum:
        raise ValueError(
            f"minimum must be below maximum, got {calibration.minimum} and {calibration.maximum}."
        )
    return calibration


def _heat_level(content: dict[str, Any]) -> float | None:
    level = content.get("heat_level")
    if not is_level(level):
        raise ValueError(f"heat_level must be a finite number above 0, got {level!r}.")
    return None if level is None else float(level)


def _trained_by(content: dict[str, Any]) -> str | None:
    stated = content.get("recipe_hash")
    if not isinstance(stated, (str, type(None))):
        raise ValueError(f"recipe_hash must be text, got {stated!r}.")
    return stated


def _number(content: dict[str, Any], name: str) -> float:
    value = content.get(name)
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value!r}.")
    return float(value)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise ValueError(f"{path}: there is no trained model here.")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(f"{path}: the model file is damaged ({error}).") from error
    try:
        content: dict[str, Any] = dict(json.loads(metadata.get(_METADATA, "{}")))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: the model file is damaged ({one_line(error)}).") from error
    if str(content.get("format")) not in READABLE_FORMATS:
        raise ValueError(
            f"{path}: expected a model file of format {' or '.join(READABLE_FORMATS)}, "
            f"got {content.get('format')!s:.80}."
        )
    return content, tensors
