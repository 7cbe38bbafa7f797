"""What the service counts and measures, for Prometheus; numbers alone, never a name."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The metrics of one service, apart from those of any other in the process.

    Attributes:
        requests: by path and status.
        images: scored.
        failures: of requests and files, by kind.
        batch_size, decode_seconds, score_seconds, request_seconds: as they are called.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # memory, processor time, open files
        self.requests = Counter(
            "anatpaste_requests", "Requests that were answered.", ("path", "status"), registry=registry
        )
        self.images = Counter("anatpaste_images", "Images that were scored.", registry=registry)
        self.failures = Counter(
            "anatpaste_failures", "Requests and files that failed, by kind.", ("kind",), registry=registry
        )
        self.batch_size = Histogram(
            "anatpaste_batch_size", "Images that were scored together.", buckets=_SIZES, registry=registry
        )
        self.decode_seconds = self._seconds("decode", "From a file's bytes to the detector's input.")
        self.score_seconds = self._seconds("score", "A batch's score, heat maps included.")
        self.request_seconds = self._seconds("request", "A request to /score, from its head to its answer.")
        self._gauges = {
            "anatpaste_queue_length": "Images that wait to be scored.",
            "anatpaste_images_in_progress": "Images of requests that are not answered yet.",
            "anatpaste_requests_in_progress": "Requests to /score that are not answered yet.",
        }

    def watch(self, **counts: Callable[[], float]) -> None:
        """Lets gauges show what functions return when they are asked for, by the ends of their names."""
        for ending, count in counts.items():
            name = f"anatpaste_{ending}"
            Gauge(name, self._gauges[name], registry=self.registry).set_function(count)

    def failed(self, kind: str) -> None:
        """Counts a failure."""
        self.failures.labels(kind).inc()

    def text(self) -> bytes:
        """In Prometheus's text format."""
        return generate_latest(self.registry)

    def _seconds(self, what: str, meaning: str) -> Histogram:
        return Histogram(f"anatpaste_{what}_seconds", meaning, buckets=_SECONDS, registry=self.registry)
