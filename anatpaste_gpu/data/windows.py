"""Windows of DICOM headers and their functions: PS3.3 C.11.2.1.2 and C.11.2.1.3."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from anatpaste_gpu.data import header_elements

LINEAR, LINEAR_EXACT, SIGMOID = "LINEAR", "LINEAREXACT", "SIGMOID"


@dataclass(frozen=True)
class Window:
    """Which values become black and white.

    Attributes:
        centre: of the values between.
        width: of the values between; at least 1 for LINEAR, more than 0 for the others.
        function: LINEAR, LINEAR_EXACT or SIGMOID.
    """

    centre: float
    width: float
    function: str = LINEAR

    @property
    def usable(self) -> bool:
        """Whether the standard allows these numbers."""
        least = 1.0 if self.function == LINEAR else float(np.finfo(np.float64).tiny)
        return math.isfinite(self.centre) and least <= self.width < math.inf

    def __call__(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """0 where a value is black, 1 where it is white; LINEAR and LINEAR_EXACT may go beyond."""
        with np.errstate(over="ignore"):
            return self._unit(values)

    def _unit(self, values: NDArray[Any]) -> NDArray[np.float64]:
        if self.function == SIGMOID:
            return 1 / (1 + np.exp(np.clip(-4 * ((values - self.centre) / self.width), -700, 700)))
        if self.function == LINEAR_EXACT:
            return (values - self.centre) / self.width + 0.5
        if self.width == 1:
            return (values > self.centre - 0.5).astype(np.float64)
        return (values - (self.centre - 0.5)) / (self.width - 1) + 0.5


def first_usable_window(path: Path, dataset: pydicom.Dataset) -> Window | None:
    """The first window that the standard allows; None where there is none. What is passed over is noted."""
    function = header_elements.code(dataset, "VOILUTFunction") or LINEAR
    if function not in (LINEAR, LINEAR_EXACT, SIGMOID):
        header_elements.note(path, f"VOILUTFunction {function} is unknown; the window is taken as LINEAR.")
        function = LINEAR
    centres, widths = (header_elements.numbers(dataset, name) for name in ("WindowCenter", "WindowWidth"))
    for centre, width in zip(centres, widths, strict=False):
        window = Window(centre, width, function)
        if window.usable:
            return window
        sentence = f"the DICOM window (centre {centre}, width {width}) is not valid; passed over."
        header_elements.note(path, sentence)
    return None
