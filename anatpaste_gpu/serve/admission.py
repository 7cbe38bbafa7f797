"""Who is let in: how much all requests together may hold, and the end, when nobody is any more."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from anatpaste_gpu.serve.limits import Limits, Refusal


@dataclass
class Place:
    """What one request holds, until its answer is sent.

    Attributes:
        admission: that gave it.
        images: of it, that are counted.
    """

    admission: Admission
    images: int = 0

    def take(self, images: int) -> None:
        """Counts the request's images; raises a Refusal, 429, where there is no room for them."""
        self.admission.check_room(images)
        self.admission.images += images
        self.images += images


class Admission:
    """Counts requests, their bytes and their images; for one event loop.

    Args:
        limits: as the service has them.

    Attributes:
        requests, images, held_bytes: of requests that are not answered yet.
        is_draining: whether new ones are turned away.
        idle: set while no request is in progress.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.requests = self.images = self.held_bytes = 0
        self.is_draining = False
        self.idle = asyncio.Event()
        self.idle.set()

    @contextlib.contextmanager
    def place(self, expected_bytes: int | None) -> Iterator[Place]:
        """A request's place while it is in progress.

        Args:
            expected_bytes: of its body, as its head says; None, where it does not, counts as the most.

        Raises:
            Refusal: 503 while the service ends, 429 where all together would hold too much.
        """
        if self.is_draining:
            raise Refusal(503, "draining", "The service is being stopped and takes no more requests.")
        size = self._limits.request_bytes if expected_bytes is None else expected_bytes
        self.check_room(1)
        if self.held_bytes + size > self._limits.held_bytes:
            raise Refusal(429, "queue", "The requests in progress hold as much as they may; try again later.")
        place = Place(self)
        self.requests += 1
        self.held_bytes += size
        self.idle.clear()
        try:
            yield place
        finally:
            self.requests -= 1
            self.held_bytes -= size
            self.images -= place.images
            if not self.requests:
                self.idle.set()

    def check_room(self, images: int) -> None:
        """Raises a Refusal where so many more images would be too many."""
        if self.images + images > self._limits.queue:
            raise Refusal(
                429,
                "queue",
                f"{self.images} images are waiting, of {self._limits.queue} at most; try again later.",
            )
