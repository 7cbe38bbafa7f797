"""From an upload to its entry in the answer: decoded, scored, and its heat map drawn."""

from __future__ import annotations

import asyncio
import base64
import functools
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anatpaste_gpu.data.errors import ImageReadError, TooManyPixelsError
from anatpaste_gpu.data.images import decode_grey, squared
from anatpaste_gpu.data.registry import worker_count
from anatpaste_gpu.extras import MissingExtra
from anatpaste_gpu.methods.detector import Detector
from anatpaste_gpu.methods.heat_pictures import as_png, enlarged, map_scale, overlay, sixteen_bits
from anatpaste_gpu.methods.heat_scale import HeatScale
from anatpaste_gpu.methods.scoring_plan import ScoringPlan
from anatpaste_gpu.serve.batching import Batcher
from anatpaste_gpu.serve.faults import log_fault
from anatpaste_gpu.serve.limits import Limits, Refusal
from anatpaste_gpu.serve.metrics import Metrics
from anatpaste_gpu.serve.uploads import Upload


class HeatMap(str, Enum):
    """What is drawn of an image's heat map: nothing, the heat over the image, or 16-bit numbers."""

    NONE = "none"
    OVERLAY = "overlay"
    MAP = "map"


class Scoring:
    """A detector with its threads and its queue; made and used in one event loop.

    Args:
        detector: fitted and calibrated.
        limits: as the service has them.
        metrics: are told what happens.
        workers: threads that decode, and on a CPU score; None for one a core.
    """

    def __init__(self, detector: Detector, limits: Limits, metrics: Metrics, workers: int | None) -> None:
        self._detector, self._limits, self._metrics = detector, limits, metrics
        threads = worker_count(workers)
        plan = ScoringPlan.of(detector, threads)
        most, wait = limits.batch or plan.batch, limits.wait_ms / 1000
        self.batcher = Batcher(detector, plan, most=most, wait=wait, metrics=metrics)
        self._decoders = ThreadPoolExecutor(threads, "decode")
        self._scale, self.why_no_heat = _scale_of(detector)

    def check(self, uploads: Sequence[Upload], kind: HeatMap) -> None:
        """Raises a Refusal where so many heat maps, or any, cannot be had."""
        if kind is HeatMap.NONE:
            return
        if self.why_no_heat is not None:
            raise Refusal(422, "form", f"No heat map can be had: {self.why_no_heat}")
        if len(uploads) > self._limits.heat_maps:
            raise Refusal(
                413, "files", f"A request for heat maps may have at most {self._limits.heat_maps} files."
            )

    async def results(self, uploads: Sequence[Upload], kind: HeatMap) -> list[dict[str, Any]]:
        """An entry for each upload, in their order: its score, or a sentence that says why there is none."""
        return list(await asyncio.gather(*(self._result(upload, kind) for upload in uploads)))

    def close(self) -> None:
        """Lets the threads end."""
        self._decoders.shutdown(wait=False, cancel_futures=True)

    async def _result(self, upload: Upload, kind: HeatMap) -> dict[str, Any]:
        try:
            image = await self._in_thread(self._decoded, upload)
            found = await self.batcher.score(image, with_heat=kind is not HeatMap.NONE)
            if not math.isfinite(found.score):
                raise ArithmeticError("the score is not finite.")
            entry = {"name": upload.name, **self._numbers(found.score)}
            if found.heat is not None:
                entry["heat_map"] = await self._in_thread(self._picture, upload, found.heat, kind)
            return entry
        except (ImageReadError, MissingExtra) as error:
            failure, sentence = _kind_of(error), str(error)
        except MemoryError:
            failure, sentence = "memory", f"{upload.name}: there is not enough memory to read it."
        # Whatever else goes wrong with one image is not told outside, and spoils no other.
        except Exception as error:
            log_fault(error)
            failure, sentence = "internal", f"{upload.name}: it could not be scored for an internal error."
        self._metrics.failed(failure)
        return {"name": upload.name, "error": sentence}

    async def _in_thread(self, function: Any, *words: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(
            self._decoders, functools.partial(function, *words)
        )

    def _decoded(self, upload: Upload) -> Tensor:
        """As the file itself would be read: uint8 (1, S, S)."""
        begun = time.perf_counter()
        grey = decode_grey(upload.content, upload.name, self._limits.pixels)
        image = torch.from_numpy(squared(grey, self._detector.image_size))[None]
        self._metrics.decode_seconds.observe(time.perf_counter() - begun)
        return image

    def _numbers(self, score: float) -> dict[str, float | int]:
        calibration, values = self._detector.calibration, np.array([score])
        assert calibration is not None, "a detector from a file has a calibration"
        return {
            "score": score,
            "normalised_score": float(calibration.normalise(values)[0]),
            "decision": int(calibration.decide(values)[0]),
            "threshold": calibration.threshold,
        }

    def _picture(self, upload: Upload, heat: NDArray[np.float32], kind: HeatMap) -> dict[str, str]:
        """As `anatpaste score --heat-maps` writes it; the image is decoded anew rather than held."""
        assert self._scale is not None, "checked before"
        grey = np.asarray(decode_grey(upload.content, upload.name, self._limits.pixels))
        heat = enlarged(heat, grey.shape)
        picture = (
            overlay(grey, heat / self._scale.brightest)
            if kind is HeatMap.OVERLAY
            else sixteen_bits(heat, self._scale)
        )
        content = base64.b64encode(as_png(picture, self._scale)).decode("ascii")
        return {"kind": kind.value, "png": content, "meaning": self._scale.meaning}


def _scale_of(detector: Detector) -> tuple[HeatScale | None, str | None]:
    """The scale of its heat maps, or why there is none; it is also the detector's first work."""
    blank = torch.zeros(1, 1, detector.image_size, detector.image_size, dtype=torch.uint8)
    detector.score(blank)
    try:
        return map_scale(detector, "ask for none"), None
    except (ValueError, MissingExtra) as error:
        return None, str(error)


def _kind_of(error: Exception) -> str:
    if isinstance(error, TooManyPixelsError):
        return "pixels"
    return "extra" if isinstance(error, MissingExtra) else "unreadable"
