"""Results as DICOM files beside the images that they are of: `anatpaste score --dicom-out`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import anatpaste_gpu
from anatpaste_gpu.checks import one_line
from anatpaste_gpu.data.errors import ImageReadError
from anatpaste_gpu.data.images import read_grey
from anatpaste_gpu.extras import require
from anatpaste_gpu.files import check_folder, sha256_of, write_atomically
from anatpaste_gpu.methods import Detector
from anatpaste_gpu.methods.heat_pictures import enlarged, overlay
from anatpaste_gpu.methods.heat_scale import HeatScale

ENDING = ".dcm"


class DicomResults:
    """Writes a structured report and, of methods with heat maps, an overlay for each DICOM image.

    Files are called by their SOP instance UIDs, which follow from the model, its threshold, this package's
    version and the image's UID: the same command writes the same files again, to the byte.

    Args:
        folder: it is made with the first file, and may hold files of earlier runs.
        detector: what scored.
        model: its file.
        scale: of its heat maps; None writes reports alone.

    Raises:
        MissingExtra: highdicom is not there.
        OSError: the folder cannot be written, or the model's file not be read.
    """

    def __init__(self, folder: Path, detector: Detector, model: Path, scale: HeatScale | None) -> None:
        require("DICOM output", "dicom-out", "pydicom", "highdicom")
        from anatpaste_gpu.cli.dicom_objects import Maker

        check_folder(folder)
        self._folder, self._scale = folder, scale
        self._maker = Maker(
            model=sha256_of(model),
            recipe=detector.recipe_hash,
            method=detector.learner.recipe.method,
            version=anatpaste_gpu.__version__,
            threshold=detector.threshold,
        )

    @property
    def paints(self) -> bool:
        """Whether it writes overlays and so needs heat maps."""
        return self._scale is not None

    def write(
        self, path: Path, score: float, normalised: float, decision: int, heat: NDArray[np.float32] | None
    ) -> list[str]:
        """Writes the files of one image.

        Args:
            path: the image.
            score, normalised, decision: its result.
            heat: float32 (h, w), >= 0, over the whole image; None where it has no heat map.

        Returns:
            The files' names.

        Raises:
            ImageReadError: it is no DICOM image, says not of which study it is, or cannot be read any more.
            OSError: a file cannot be written; one sentence.
        """
        from anatpaste_gpu.cli import dicom_objects
        from anatpaste_gpu.cli.dicom_source import source_header

        header = source_header(path)
        try:
            made = [
                dicom_objects.report(
                    header, self._maker, score=score, normalised=normalised, decision=decision
                )
            ]
            if self._scale is not None and heat is not None:
                grey = np.asarray(read_grey(path))
                painted = overlay(grey, enlarged(heat, grey.shape) / self._scale.brightest)
                made.append(dicom_objects.picture(header, self._maker, painted, _meaning(self._scale)))
            contents = {f"{one.SOPInstanceUID}{ENDING}": dicom_objects.as_file(one) for one in made}
        except (ImageReadError, MemoryError):
            raise
        # pydicom and highdicom raise whatever values of other sorts in the header led them to.
        except Exception as error:
            kind = type(error).__name__
            raise ImageReadError(f"{path}: its header does not go into a DICOM object ({kind}).") from error
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            self._save(self._folder / name, content)
        return list(contents)

    def _save(self, path: Path, content: bytes) -> None:
        try:
            write_atomically(path, content, durable=False)
        except OSError as error:
            raise OSError(f"{path} cannot be written: {error.strerror or one_line(error)}.") from error


def _meaning(scale: HeatScale) -> str:
    """The scale in the overlay's own terms."""
    return f"The brightest colour is {scale.brightest:.6g} and above, none is 0: heat of one image's score."
