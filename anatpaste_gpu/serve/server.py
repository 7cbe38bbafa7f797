"""Uvicorn with an end that loses nobody: what is in progress is answered, what comes then is turned away."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn

from anatpaste_gpu.serve.app import Service

_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Seconds that an idle connection may stay open.
_KEPT_OPEN = 5


class Server(uvicorn.Server):
    """One service at one socket.

    Args:
        service: what is served.
        on_ready: called when requests are taken.
    """

    def __init__(self, service: Service, on_ready: Callable[[], None] = lambda: None) -> None:
        super().__init__(
            uvicorn.Config(
                service.app,
                lifespan="on",
                ws="none",
                log_config=None,
                access_log=False,  # who asked what is nobody's business
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_KEPT_OPEN,
            )
        )
        self._admission, self._on_ready = service.admission, on_ready
        self._ending: asyncio.Task[None] | None = None

    def drain(self) -> None:
        """Takes no more requests, and ends when those in progress are answered; asked twice, at once."""
        if self._admission.is_draining:
            self.should_exit = self.force_exit = True
            return
        self._admission.is_draining = True
        self._ending = asyncio.create_task(self._end())

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to listen, and tells so."""
        await super().startup(sockets)
        if not self.should_exit:
            self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: uvicorn's own handlers would stop listening at once and raise the signal once more."""
        yield

    async def _end(self) -> None:
        await self._admission.idle.wait()
        self.should_exit = True


def serve(service: Service, listening: socket.socket, on_ready: Callable[[], None]) -> None:
    """Serves until SIGTERM, SIGINT or SIGHUP, then answers what is in progress; for the main thread.

    Args:
        service: what is served.
        listening: where.
        on_ready: called when requests are taken.
    """
    asyncio.run(_serve(service, listening, on_ready))


async def _serve(service: Service, listening: socket.socket, on_ready: Callable[[], None]) -> None:
    server, loop = Server(service, on_ready), asyncio.get_running_loop()
    for number in _STOPPING:
        loop.add_signal_handler(number, server.drain)
    await server.serve(sockets=[listening])
