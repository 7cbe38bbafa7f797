"""A service in a thread of the test's process, and a client of the standard library."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import threading
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from anatpaste_gpu.methods import Detector
from anatpaste_gpu.serve.access import Token, listening_socket
from anatpaste_gpu.serve.app import Service
from anatpaste_gpu.serve.limits import Limits
from anatpaste_gpu.serve.server import Server

#: What stands in place of the hash of a model file.
MODEL = "0" * 64


class Client:
    """Asks one service; may be used by several threads."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers by their names in lower case, and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        with contextlib.closing(connection):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()

    def score(
        self, files: Sequence[tuple[str, bytes]], heat_map: str = "none", **headers: str
    ) -> tuple[int, dict[str, Any]]:
        """Status and answer to files by their names."""
        body, content_type = form(files)
        path = f"/score?heat_map={heat_map}"
        status, _, answer = self.ask("POST", path, body, content_type=content_type, **headers)
        return status, json.loads(answer)

    def json(self, path: str) -> dict[str, Any]:
        return dict(json.loads(self.ask("GET", path)[2]))

    def metrics(self) -> dict[str, float]:
        """Values by name and labels."""
        lines = self.ask("GET", "/metrics")[2].decode().splitlines()
        rows = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in rows}


def form(files: Sequence[tuple[str, bytes]]) -> tuple[bytes, str]:
    """A multipart form as curl and browsers make it, and its content type."""
    boundary = uuid.uuid4().hex
    parts = [
        b'--%b\r\nContent-Disposition: form-data; name="files"; filename="%b"\r\n\r\n%b\r\n'
        % (boundary.encode(), name.encode(), content)
        for name, content in files
    ]
    return b"".join([*parts, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"


class Running:
    """A service that runs.

    Attributes:
        client: that asks it.
        drain: asks it to end, from any thread.
        thread: that it runs in.
    """

    def __init__(self, detector: Detector, limits: Limits | None, token: str | None) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._socket = listening_socket("127.0.0.1", 0)
        self.client = Client(self._socket.getsockname()[1])
        secret = None if token is None else Token(token)
        self._service = (detector, limits, secret)
        self.thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.thread.start()
        assert self._ready.wait(120)

    def drain(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._server.drain)

    async def _run(self) -> None:
        detector, limits, token = self._service
        self._loop = asyncio.get_running_loop()
        service = Service(detector, MODEL, limits=limits, token=token, workers=1)
        self._server = Server(service, self._ready.set)
        await self._server.serve(sockets=[self._socket])


@contextlib.contextmanager
def served(
    detector: Detector, limits: Limits | None = None, *, token: str | None = None
) -> Iterator[Running]:
    """A service of a detector at a free port, with one worker."""
    running = Running(detector, limits, token)
    try:
        yield running
    finally:
        if running.thread.is_alive():
            running.drain()
            running.thread.join(60)
        assert not running.thread.is_alive()
