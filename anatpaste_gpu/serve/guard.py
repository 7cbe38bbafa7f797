"""What stands before the application: token, limits, the clock, and one sentence for whatever goes wrong."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.serve.access import Token
from anatpaste_gpu.serve.admission import Admission
from anatpaste_gpu.serve.faults import log_fault
from anatpaste_gpu.serve.limits import Limits, Refusal
from anatpaste_gpu.serve.metrics import Metrics
from anatpaste_gpu.serve.uploads import check_size

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

SCORE = "/score"
#: What a page and a probe need before they know the token; nothing of an image is in it.
OPEN = frozenset(
    {"/", "/health", "/docs", "/openapi.json", "/page/serve.css", "/page/serve.js", "/page/docs.js"}
)
PATHS = OPEN | {SCORE, "/metrics"}
_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
)
_RETRY_SECONDS = "1"


class Guard:
    """ASGI around the application.

    Args:
        app: what is guarded.
        limits, admission, metrics: of the service.
        token: that all but `OPEN` asks for; None asks for none.
    """

    def __init__(
        self, app: App, limits: Limits, admission: Admission, metrics: Metrics, token: Token | None
    ) -> None:
        self._app, self._limits, self._admission = app, limits, admission
        self._metrics, self._token = metrics, token

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request; what is no request of HTTP goes through as it is."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in PATHS else "other"
        begun, answer = time.perf_counter(), _Answer(send)
        try:
            await asyncio.wait_for(self._carried_out(scope, receive, answer), self._limits.seconds)
        except asyncio.TimeoutError:
            await self._timed_out(answer)
        # Whatever was not foreseen ends in a sentence too; what it says is not logged.
        except Exception as error:
            log_fault(error)
            self._metrics.failed("internal")
            if answer.status is None:
                await answer.refuse(Refusal(500, "internal", "The service failed for an internal error."))
        finally:
            self._metrics.requests.labels(path, str(answer.status or "none")).inc()
            if path == SCORE:
                self._metrics.request_seconds.observe(time.perf_counter() - begun)

    async def _carried_out(self, scope: Message, receive: Receive, answer: _Answer) -> None:
        headers, body = dict(scope["headers"]), Body(receive)
        scope.setdefault("state", {})["body"] = body
        try:
            if self._token is not None and scope["path"] not in OPEN:
                self._token.check(headers.get(b"authorization"))
            if scope["path"] != SCORE or scope["method"] != "POST":
                await self._app(scope, body, answer)
                return
            length = headers.get(b"content-length")
            expected = int(length) if length is not None and length.isdigit() else None
            check_size(expected or 0, self._limits)
            with self._admission.place(expected) as place:
                scope["state"]["place"] = place
                await self._app(scope, body, answer)
        except Refusal as refusal:
            self._metrics.failed(refusal.kind)
            # A client that asks first whether to send its body must not be told to.
            if b"expect" not in headers:
                await body.pass_over(self._limits.request_bytes)
            await answer.refuse(refusal)

    async def _timed_out(self, answer: _Answer) -> None:
        self._metrics.failed("time")
        if answer.status is None:
            seconds = self._limits.seconds
            sentence = (
                f"The answer would have taken longer than {seconds:g} seconds; try again with fewer files."
            )
            await answer.refuse(Refusal(503, "time", sentence))


class Body:
    """A request's body as ASGI receives it, which knows whether there is more of it."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self._is_read = receive, False

    async def __call__(self) -> Message:
        """The next piece."""
        message = await self._receive()
        self._is_read = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def pass_over(self, most: int) -> None:
        """Takes what is left, so many bytes at most: a client that still sends would not see the answer."""
        passed = 0
        while not self._is_read and passed <= most:
            passed += len((await self()).get("body", b""))


class _Answer:
    """Sends on, with the headers that every answer has, and remembers the status."""

    def __init__(self, send: Send) -> None:
        self.status: int | None = None
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *_HEADERS]
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        body, headers = told(refusal)
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        raw.append((b"content-length", str(len(body)).encode()))
        await self({"type": "http.response.start", "status": refusal.status, "headers": raw})
        await self({"type": "http.response.body", "body": body})


def told(refusal: Refusal) -> tuple[bytes, dict[str, str]]:
    """Body and headers of the answer that says why a request is not carried out."""
    headers = {"content-type": "application/json"}
    if refusal.status == 401:
        headers["www-authenticate"] = "Bearer"
    if refusal.status in (429, 503):
        headers["retry-after"] = _RETRY_SECONDS
    return json.dumps({"notice": NOT_FOR_CLINICAL_USE, "error": refusal.sentence}).encode(), headers
