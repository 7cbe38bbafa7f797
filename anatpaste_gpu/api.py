"""Detectors in Python: `load` a trained one, `fit` one; both are called with images."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from anatpaste_gpu.data.image_folder import DATASET, has_abnormal
from anatpaste_gpu.data.split_tensors import split_tensors
from anatpaste_gpu.data.squares import squares
from anatpaste_gpu.devices import select_device
from anatpaste_gpu.methods import Detector
from anatpaste_gpu.runs import RunFolder
from anatpaste_gpu.runs.config import preset_config
from anatpaste_gpu.segment.segmenters import Segmenter

#: What `fit` takes where it is told nothing: ten minutes on two CPU cores.
DEFAULT_PRESET = "cpu"
LABELLED, PASTED = "labelled", "pasted"


def load(run_or_file: str | os.PathLike[str], device: torch.device | str | None = None) -> Detector:
    """The detector that a training run left, or that `Detector.save` wrote.

    Args:
        run_or_file: a run folder or a model file.
        device: where to score; None is the first GPU, or the CPU where there is none.

    Raises:
        ValueError: there is nothing, the run has no model yet, or its model is damaged.
    """
    chosen = select_device(0)[0] if device is None else device
    return Detector.load(model_file(run_or_file), chosen)


def model_file(run_or_file: str | os.PathLike[str]) -> Path:
    """The file that `load` reads; raises ValueError as it does where there is none."""
    path = Path(run_or_file)
    return path if path.is_file() else RunFolder(path).trained_model()


def fit(
    images: Any,
    *,
    abnormal: Any = None,
    method: str | None = None,
    preset: str = DEFAULT_PRESET,
    validation: str | None = None,
    output: str | os.PathLike[str] | None = None,
    progress: bool = True,
    segmenter: Segmenter | None = None,
    **settings: Any,
) -> Detector:
    """Trains a detector, as `anatpaste train` does, and loads it.

    Args:
        images: a folder as data set "folder" has it (`normal/` and, perhaps, folders of abnormal images), or
            of another data set, named by `dataset=`; or normal images in memory, as a detector takes them.
        abnormal: abnormal images in memory beside normal ones, which choose checkpoint and threshold and test
            the detector; None has the validation set made of pasted twins.
        method: as --method takes it; None is the preset's, AnatPaste where it names none.
        preset: settings to begin with, as --preset takes it; "paper" is for a GPU.
        validation: "labelled" or "pasted"; None is "labelled" where there are abnormal images.
        output: folder for the run, which the same call continues; None keeps none but the detector's.
        progress: whether lines and, on terminals and in notebooks with ipywidgets, a bar are shown.
        segmenter: as `training.train` takes it.
        **settings: any other, by the names of the flags: `epochs=20`, `gpu=-1`, `memory={"budget": 8}`.

    Returns:
        The detector with the best validation AUC, on the device that it was trained on.

    Raises:
        ValueError, TypeError: a setting or the images cannot be used; one sentence.
        Interrupted: SIGINT came; with an `output` the same call continues.
    """
    from anatpaste_gpu.training import train  # here, for it takes as long to import as torch

    in_memory = not isinstance(images, (str, os.PathLike, type(None)))
    config = preset_config(preset, method, **{"dataset": DATASET, **settings})
    if not in_memory:
        if abnormal is not None:
            raise ValueError(
                "abnormal goes with images in memory; a folder has its own folders of abnormal ones."
            )
        config = config.replace(data_root=None if images is None else os.fspath(images))
        labelled = config.recipe.dataset != DATASET or images is None or has_abnormal(Path(images))
        splits = None
    else:
        size, seed = config.recipe.image_size, config.recipe.drawn_from
        others = None if abnormal is None else _squares_of(abnormal, size, "abnormal")
        splits = split_tensors(_squares_of(images, size, "images"), others, seed)
        labelled = others is not None
    config = config.replace(validation=validation or (LABELLED if labelled else PASTED))
    with _folder(output) as folder:
        train(
            config.replace(output=str(folder)),
            splits=splits,
            console=None if progress else Console(quiet=True),
            segmenter=segmenter,
        )
        return load(folder, select_device(config.place.gpu)[0])


def _squares_of(images: Any, size: int, name: str) -> torch.Tensor:
    if isinstance(images, (list, tuple)):
        return torch.cat([squares(one, size, name).cpu() for one in images])
    return squares(images, size, name)


@contextlib.contextmanager
def _folder(output: str | os.PathLike[str] | None) -> Iterator[Path]:
    """The run's folder, which goes away with the context where none was asked for."""
    if output is not None:
        yield Path(output)
        return
    with tempfile.TemporaryDirectory(prefix="anatpaste-") as folder:
        yield Path(folder)
