"""The service: the command's scores, together for all who ask at once, and nothing of an image kept."""

from __future__ import annotations

import base64
import io
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("fastapi", reason="the extra serve brings it")

from anatpaste_gpu.cli.heat_maps import HeatMapFiles
from anatpaste_gpu.cli.score import score_paths
from anatpaste_gpu.methods import Detector
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.scorers.calibration import Calibration
from anatpaste_gpu.serve.guard import OPEN

from .commands import DAMAGED
from .detectors import fitted
from .serving import MODEL, Client, Running, served
from .test_data_dicom import RAMP12, make, save

SIDE = 32


@pytest.fixture(scope="module")
def detector() -> Detector:
    """A small network with random weights."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8, 1, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    learner = fitted(images, backbone="shufflenet_v2_x0_5")
    scores = learner.score(images)
    return Detector(learner, Calibration(float(scores.mean()), float(scores.min()), float(scores.max()) + 9))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of every kind and size, and a damaged one."""
    folder = tmp_path_factory.mktemp("images")
    for number, name in enumerate(["a.png", "b.jpg", "胸部 X.png", "d.png"]):
        pixels = np.random.default_rng(number).integers(0, 256, (40 + number, 50), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    save(folder / "e.dcm", make(RAMP12))
    (folder / "broken.png").write_bytes(DAMAGED)
    return folder


@pytest.fixture(scope="module")
def running(detector: Detector) -> Iterator[Running]:
    with served(detector) as running:
        yield running


@pytest.fixture
def client(running: Running) -> Client:
    return running.client


def files_of(folder: Path) -> list[tuple[str, bytes]]:
    return [(path.name, path.read_bytes()) for path in sorted(folder.iterdir())]


def png(seed: int, height: int = 40) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (height, 50), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_scores_are_the_commands(client: Client, detector: Detector, folder: Path) -> None:
    skipped: list[str] = []
    expected = {Path(row.name).name: row for row in score_paths(detector, [folder], skipped)}
    status, answer = client.score(files_of(folder))
    assert status == 200
    assert (answer["notice"], answer["model"]) == (NOT_FOR_CLINICAL_USE, MODEL)
    assert [image["name"] for image in answer["images"]] == [path.name for path in sorted(folder.iterdir())]
    for image in answer["images"]:
        if image["name"] == "broken.png":
            assert set(image) == {"name", "error"}
            assert f"{folder / image['error']}" == skipped[0]
            assert image["error"].startswith("broken.png: truncated or damaged PNG file")
            continue
        row = expected.pop(image["name"])
        # Batches of another size go through other convolution kernels: 4e-8 of 470 was seen.
        assert image["score"] == pytest.approx(row.score, rel=1e-8)
        assert image["normalised_score"] == pytest.approx(row.normalised_score, abs=1e-5)
        assert (image["decision"], image["threshold"]) == (row.decision, detector.threshold)
    assert not expected


def test_one_that_is_broken_alone_is_no_success(client: Client) -> None:
    status, answer = client.score([("x/../broken.png", DAMAGED)])
    assert status == 422
    assert answer["error"] == answer["images"][0]["error"]
    assert answer["error"].startswith("broken.png: ")
    status, answer = client.score([("a.png", DAMAGED), ("b.png", b"")])
    assert (status, answer["error"]) == (422, "None of the files could be scored.")
    assert answer["images"][1] == {"name": "b.png", "error": "b.png: the file is empty (0 bytes)."}


@pytest.mark.parametrize("kind", ["overlay", "map"])
def test_heat_maps_are_the_commands(
    kind: str, client: Client, detector: Detector, folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pytorch_grad_cam", reason="the extra report brings it")
    maps = HeatMapFiles(tmp_path / "maps", detector)
    path = folder / "d.png"
    (row,) = score_paths(detector, [path], [], maps=maps)
    written = tmp_path / "maps" / str(row.heat_map).replace(".map.", f".{kind}.")
    status, answer = client.score([("d.png", path.read_bytes())], kind)
    assert status == 200
    drawn = answer["images"][0]["heat_map"]
    assert drawn["kind"] == kind
    assert drawn["meaning"].startswith("65535 is 1")
    assert base64.b64decode(drawn["png"]) == written.read_bytes()


class Slow:
    """Lets scores wait, and notes how many images are scored together."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self.begun, self.go = threading.Semaphore(0), threading.Event()
        score = Detector.score

        def waits(detector: Detector, images: Any) -> Any:
            self.sizes.append(len(images))
            self.begun.release()
            assert self.go.wait(60)
            return score(detector, images)

        monkeypatch.setattr(Detector, "score", waits)


def wait_until(client: Client, name: str, value: float) -> None:
    for _ in range(3000):
        if client.metrics()[name] == value:
            return
    raise AssertionError(f"{name} is {client.metrics()[name]}, not {value}")


def test_requests_at_the_same_time_are_scored_together(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(detector) as running, ThreadPoolExecutor(6) as pool:
        client = running.client
        alone = [client.score([("x.png", png(seed))])[1]["images"][0]["score"] for seed in range(6)]
        slow = Slow(monkeypatch)
        first = pool.submit(client.score, [("x.png", png(0))])
        slow.begun.acquire()
        others = [pool.submit(client.score, [("x.png", png(seed))]) for seed in range(1, 6)]
        wait_until(client, "anatpaste_queue_length", 5)
        slow.go.set()
        found = [future.result()[1]["images"][0]["score"] for future in (first, *others)]
    assert slow.sizes == [1, 5]
    assert found == pytest.approx(alone, rel=1e-8)


def test_one_fault_spoils_no_other(
    detector: Detector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    score = Detector.score

    def fails(detector: Detector, images: torch.Tensor) -> Any:
        if any(bool((one == 7).all()) for one in images):
            raise RuntimeError("secret.png")
        return score(detector, images)

    stream = io.BytesIO()
    Image.new("L", (40, 40), 7).save(stream, "PNG")
    with served(detector) as running:
        monkeypatch.setattr(Detector, "score", fails)
        files = [("a.png", png(1)), ("secret.png", stream.getvalue()), ("c.png", png(2))]
        status, answer = running.client.score(files)
        counted = running.client.metrics()['anatpaste_failures_total{kind="internal"}']
    assert status == 200
    assert ["score" in image for image in answer["images"]] == [True, False, True]
    assert answer["images"][1]["error"] == "secret.png: it could not be scored for an internal error."
    assert counted == 1
    assert re.fullmatch(r"an internal error: RuntimeError at test_serve.py:\d+\.", caplog.messages[-1])
    assert "secret" not in caplog.text


def test_a_fault_of_the_service_is_told_in_a_sentence(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*words: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("anatpaste_gpu.serve.scoring.Scoring.check", fails)
    status, answer = client.score([("a.png", png(0))])
    assert (status, answer["error"]) == (500, "The service failed for an internal error.")
    deadline = time.monotonic() + 30
    while not caplog.messages and time.monotonic() < deadline:
        time.sleep(0.01)  # it is logged once the answer is on its way
    assert len(caplog.messages) == 1
    assert "secret" not in caplog.text


def test_it_ends_when_all_are_answered(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(detector) as running, ThreadPoolExecutor(1) as pool:
        client, slow = running.client, Slow(monkeypatch)
        last = pool.submit(client.score, [("x.png", png(0))])
        slow.begun.acquire()
        running.drain()
        for _ in range(3000):
            if client.ask("GET", "/health")[0] == 503:
                break
        status, answer = client.score([("late.png", png(1))])
        assert (status, answer["error"]) == (
            503,
            "The service is being stopped and takes no more requests.",
        )
        assert not client.json("/health")["ready"]
        assert running.thread.is_alive()
        slow.go.set()
        assert last.result()[0] == 200
        running.thread.join(60)
        assert not running.thread.is_alive()
        with pytest.raises(ConnectionRefusedError):
            client.ask("GET", "/health")


def test_nothing_is_spooled_or_logged(
    client: Client,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Starlette's own reader of forms writes files of more than a mebibyte to a disk."""

    def fail(*words: object, **options: object) -> None:
        raise AssertionError("a temporary file was made")

    for name in ("SpooledTemporaryFile", "TemporaryFile", "NamedTemporaryFile", "mkstemp", "_mkstemp_inner"):
        monkeypatch.setattr(tempfile, name, fail)
    large = save(folder.parent / "large.dcm", make(np.zeros((1200, 1200), np.uint16), PatientName="Doe^Jane"))
    status, answer = client.score([("Doe_Jane.dcm", large.read_bytes()), *files_of(folder)])
    assert status == 200
    assert "score" in answer["images"][0]
    heard = "".join(capfd.readouterr()) + caplog.text + str(client.metrics())
    assert not any(word in heard for word in ("Doe", "broken", ".png", ".dcm"))


def test_metrics(client: Client) -> None:
    before = client.metrics()
    client.score([("a.png", png(0)), ("b.png", png(1)), ("c.png", DAMAGED)])
    client.ask("GET", "/no/such/path.png")
    after = client.metrics()

    def more(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert more("anatpaste_images_total") == 2
    assert more('anatpaste_failures_total{kind="unreadable"}') == 1
    assert more('anatpaste_requests_total{path="/score",status="200"}') == 1
    assert more('anatpaste_requests_total{path="other",status="404"}') == 1
    assert more("anatpaste_request_seconds_count") == 1
    assert more("anatpaste_decode_seconds_count") == 2
    assert more("anatpaste_batch_size_sum") == 2
    assert after["anatpaste_score_seconds_sum"] > before.get("anatpaste_score_seconds_sum", 0)
    assert after["anatpaste_queue_length"] == after["anatpaste_images_in_progress"] == 0
    assert after["process_resident_memory_bytes"] > 0
    assert not any("path.png" in name for name in after)


def test_health(client: Client, detector: Detector) -> None:
    health = client.json("/health")
    assert health["ready"]
    assert health["notice"] == NOT_FOR_CLINICAL_USE
    assert (health["model"], health["recipe"]) == (MODEL, detector.recipe_hash)
    assert health["threshold"] == detector.threshold


def test_pages_need_nothing_from_elsewhere(client: Client) -> None:
    kinds = {path: client.ask("GET", path) for path in sorted(OPEN)}
    for path, (status, headers, content) in kinds.items():
        assert status == 200, path
        assert "'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert b"://" not in content, path
    for path in ("/", "/docs"):
        text = kinds[path][2].decode()
        assert "Not for clinical use." in text
        asked = re.findall(r'(?:href|src)="(?!data:)([^"]*)"', text)
        assert {f"/{name.removeprefix('./')}" for name in asked} <= OPEN


def test_openapi_describes_the_form(client: Client) -> None:
    described = client.json("/openapi.json")
    score = described["paths"]["/score"]["post"]
    assert "multipart/form-data" in score["requestBody"]["content"]
    assert set(score["responses"]) >= {"200", "401", "413", "422", "429", "503"}
    assert score["parameters"][0]["name"] == "heat_map"
    assert NOT_FOR_CLINICAL_USE in described["info"]["description"]
