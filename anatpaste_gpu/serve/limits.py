"""What the service takes at most, and the refusal of what is more."""

from __future__ import annotations

import math
from dataclasses import dataclass

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Limits of a service.

    Attributes:
        request_bytes: of one request's body.
        files: of one request.
        heat_maps: files of one request that heat maps are drawn for, each at its image's own size.
        pixels: of one image, told by its header before anything is decoded; the default is a third more than
            the largest films have.
        seconds: from a request's head to the end of its answer.
        queue: images of all requests that are not answered yet.
        held_bytes: of the bodies of all such requests.
        batch: images that are scored together; None is what the command `score` takes.
        wait_ms: how long an image waits for others to be scored with.

    Raises:
        ValueError: a limit is not above 0 (`wait_ms`: below 0), or lets no full request in.
    """

    request_bytes: int = 64 * MEBIBYTE
    files: int = 16
    heat_maps: int = 4
    pixels: int = 1 << 25
    seconds: float = 60.0
    queue: int = 128
    held_bytes: int = 512 * MEBIBYTE
    batch: int | None = None
    wait_ms: float = 5.0

    def __post_init__(self) -> None:
        for name in ("request_bytes", "files", "heat_maps", "pixels", "queue", "held_bytes", "batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise ValueError(f"seconds must be a finite number above 0, got {self.seconds}.")
        if not (math.isfinite(self.wait_ms) and self.wait_ms >= 0):
            raise ValueError(f"wait_ms must be a finite number, 0 or more, got {self.wait_ms}.")
        if self.queue < self.files:
            raise ValueError(f"queue must be at least files, {self.files}, got {self.queue}.")
        if self.held_bytes < self.request_bytes:
            raise ValueError(
                f"held_bytes must be at least request_bytes, {self.request_bytes}, got {self.held_bytes}."
            )


class Refusal(Exception):
    """A request is not carried out.

    Attributes:
        status: of HTTP.
        kind: as the metrics count it.
        sentence: what the client is told; it is never logged.
    """

    def __init__(self, status: int, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.kind, self.sentence = status, kind, sentence
