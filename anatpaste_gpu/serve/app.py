"""The application: its paths, what OpenAPI says of them, and its life from the first to the last request."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib import resources
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field

import anatpaste_gpu
from anatpaste_gpu.methods.detector import Detector
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.serve.access import Token
from anatpaste_gpu.serve.admission import Admission
from anatpaste_gpu.serve.guard import Guard, told
from anatpaste_gpu.serve.limits import Limits, Refusal
from anatpaste_gpu.serve.metrics import Metrics
from anatpaste_gpu.serve.scoring import HeatMap, Scoring
from anatpaste_gpu.serve.uploads import read_uploads

_KINDS = ", ".join(kind.value for kind in HeatMap)
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "description": "PNG, JPEG or DICOM files, told by their content.",
                        }
                    },
                }
            }
        },
    }
}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"description": "The service wants a token."},
    413: {"description": "Too many bytes or files."},
    422: {"description": "No form of files; or none of the files could be scored, and each says why."},
    429: {"description": "Too much is in progress; try again later."},
    503: {"description": "It would have taken too long, or the service is being stopped."},
}


class HeatMapPicture(BaseModel):
    """A heat map, drawn."""

    kind: HeatMap
    png: str = Field(description="PNG file at the image's own size, in base64.")
    meaning: str = Field(description="What the largest number of a 16-bit map stands for.")


class ImageResult(BaseModel):
    """One file's result: a score, or an error."""

    name: str = Field(description="The last part of the file's name, printable letters alone.")
    score: float | None = Field(None, description="Higher is more abnormal.")
    normalised_score: float | None = Field(None, description="0 to 1 spans the validation set's scores.")
    decision: int | None = Field(None, description="1 where the score reaches the threshold, else 0.")
    threshold: float | None = None
    heat_map: HeatMapPicture | None = None
    error: str | None = Field(None, description="Why there is no score.")


class Scores(BaseModel):
    """The answer to a request for scores."""

    notice: str
    model: str = Field(description="SHA-256 of the model file.")
    images: list[ImageResult]


class Service:
    """A detector behind HTTP; `app` is what a server runs.

    Args:
        detector: fitted and calibrated.
        model: SHA-256 of its file.
        limits: what is taken at most.
        token: that requests must know; None lets everybody in.
        workers: threads that decode, and on a CPU score; None for one a core.

    Attributes:
        app: ASGI.
        admission: who is in progress.
    """

    def __init__(
        self,
        detector: Detector,
        model: str,
        *,
        limits: Limits | None = None,
        token: Token | None = None,
        workers: int | None = None,
    ) -> None:
        self._detector, self._model = detector, model
        self._limits, self._token, self._workers = limits or Limits(), token, workers
        self._metrics, self.admission = Metrics(), Admission(self._limits)
        self._scoring: Scoring | None = None
        self.app = Guard(self._routes(), self._limits, self.admission, self._metrics, token)

    def _routes(self) -> FastAPI:
        # /docs is a page of our own: FastAPI's fetches its scripts from elsewhere.
        app = FastAPI(
            title="anatpaste serve",
            version=anatpaste_gpu.__version__,
            description=f"Anomaly scores of chest radiographs. {NOT_FOR_CLINICAL_USE}",
            docs_url=None,
            redoc_url=None,
            lifespan=self._life,
        )
        app.add_api_route(
            "/score",
            self.score,
            methods=["POST"],
            response_model=Scores,
            summary="Scores of radiographs",
            openapi_extra=_FORM,
            responses=_REFUSALS,
        )
        app.add_api_route("/health", self.health, summary="Whether it is ready, and what it serves")
        app.add_api_route("/metrics", self.metrics, summary="Metrics for Prometheus", response_class=Response)
        for path, name, kind in (
            ("/", "index.html", "text/html; charset=utf-8"),
            ("/docs", "docs.html", "text/html; charset=utf-8"),
            ("/page/serve.css", "serve.css", "text/css; charset=utf-8"),
            ("/page/serve.js", "serve.js", "text/javascript; charset=utf-8"),
            ("/page/docs.js", "docs.js", "text/javascript; charset=utf-8"),
        ):
            app.add_api_route(path, _page(name, kind), include_in_schema=False)
        for what, refusal in (
            (RequestValidationError, Refusal(422, "form", f"heat_map must be {_KINDS}.")),
            (404, Refusal(404, "path", "There is nothing at this path.")),
            (405, Refusal(405, "path", "This path takes another method.")),
            (Exception, Refusal(500, "internal", "The service failed for an internal error.")),
            (Refusal, None),
        ):
            app.add_exception_handler(what, self._refused(refusal))
        return app

    def _refused(self, refusal: Refusal | None) -> Any:
        """A handler of exceptions that answers with a refusal; None is the one that was raised."""

        async def answer(request: Request, error: Exception) -> Response:
            shown = refusal or error
            assert isinstance(shown, Refusal), "registered for no other"
            if shown.kind != "internal":  # which the guard counts, and logs
                self._metrics.failed(shown.kind)
                await request.state.body.pass_over(self._limits.request_bytes)
            body, headers = told(shown)
            return Response(body, shown.status, headers)

        return answer

    @contextlib.asynccontextmanager
    async def _life(self, app: FastAPI) -> AsyncIterator[None]:
        self._scoring = scoring = Scoring(self._detector, self._limits, self._metrics, self._workers)
        self._metrics.watch(
            queue_length=lambda: len(scoring.batcher),
            images_in_progress=lambda: self.admission.images,
            requests_in_progress=lambda: self.admission.requests,
        )
        work = asyncio.create_task(scoring.batcher.run())
        try:
            yield
        finally:
            work.cancel()
            scoring.close()

    async def score(self, request: Request, heat_map: HeatMap = HeatMap.NONE) -> Response:
        """Scores every file of a form, together with those of other requests; nothing of them is kept.

        A file that cannot be read has a sentence in place of its score; the status is 422 where none has one.
        With `heat_map` each image comes back as PNG, in base64: `overlay` is the heat over the image, `map`
        the heat as 16-bit grey.
        """
        assert self._scoring is not None, "the application runs"
        uploads = await read_uploads(request.headers.get("content-type"), _body(request), self._limits)
        self._scoring.check(uploads, heat_map)
        request.state.place.take(len(uploads))
        images = await self._scoring.results(uploads, heat_map)
        status = 200 if any("score" in image for image in images) else 422
        content: dict[str, Any] = {"notice": NOT_FOR_CLINICAL_USE, "model": self._model, "images": images}
        if status == 422:
            content["error"] = (
                images[0]["error"] if len(images) == 1 else "None of the files could be scored."
            )
        return JSONResponse(content, status)

    async def health(self) -> Response:
        """Whether requests are taken, and what the service is."""
        scoring, limits = self._scoring, self._limits
        is_ready = scoring is not None and not self.admission.is_draining
        content = {
            "notice": NOT_FOR_CLINICAL_USE,
            "ready": is_ready,
            "version": anatpaste_gpu.__version__,
            "model": self._model,
            "recipe": self._detector.recipe_hash,
            "method": self._detector.learner.recipe.method,
            "image_size": self._detector.image_size,
            "threshold": self._detector.threshold,
            "heat_maps": scoring is not None and scoring.why_no_heat is None,
            "token": self._token is not None,
            "limits": {
                "request_bytes": limits.request_bytes,
                "files": limits.files,
                "heat_maps": limits.heat_maps,
                "pixels": limits.pixels,
                "seconds": limits.seconds,
                "queue": limits.queue,
            },
        }
        return JSONResponse(content, 200 if is_ready else 503)

    async def metrics(self) -> Response:
        """Counts and times, in Prometheus's text format."""
        return Response(self._metrics.text(), media_type=CONTENT_TYPE_LATEST)


async def _body(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes."""
    while True:
        message = await request.receive()
        if message["type"] != "http.request":
            raise Refusal(400, "gone", "The request ended before its body was whole.")
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


def _page(name: str, kind: str) -> Any:
    content = (resources.files("anatpaste_gpu.serve") / "page" / name).read_bytes()

    async def page() -> Response:
        return Response(content, media_type=kind)

    return page
