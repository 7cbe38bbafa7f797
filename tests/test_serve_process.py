"""The command itself: it ends as a service should, loses nobody, and its log tells nothing of an image."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra serve brings it")

from anatpaste_gpu.methods import Detector
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from dev import REPOSITORY

from .serving import Client
from .test_data_dicom import make, save
from .test_serve import detector, png

__all__ = ["detector"]  # a fixture

pytestmark = pytest.mark.slow


@contextmanager
def serving(model: Path, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], Client]]:
    """The command at a free port, in a process of its own."""
    words = [sys.executable, "-m", "anatpaste_gpu.cli", "serve", str(model), "--gpu", "-1", "--port", "0"]
    with (
        log.open("wb") as stream,
        subprocess.Popen(words, cwd=REPOSITORY, stdout=stream, stderr=stream) as process,
    ):
        try:
            for _ in range(1200):
                time.sleep(0.1)
                if found := re.search(r"serving http://127\.0\.0\.1:(\d+)/ until", log.read_text()):
                    break
                assert process.poll() is None, log.read_text()
            assert found, log.read_text()
            yield process, Client(int(found[1]))
        finally:
            process.kill()


@pytest.fixture
def model(detector: Detector, tmp_path: Path) -> Path:
    detector.save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_sigterm_loses_nobody(model: Path, tmp_path: Path) -> None:
    """Clients ask all the time: each answer is a score, or the sentence that there will be none."""
    statuses: list[int] = []
    enough = threading.Event()

    def ask(client: Client) -> None:
        while True:
            try:
                statuses.append(client.score([("x.png", png(0))])[0])
            except ConnectionError:  # nobody listens any more
                return
            if len(statuses) > 40:
                enough.set()

    with serving(model, tmp_path / "log") as (process, client), ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, client) for _ in range(4)]
        assert enough.wait(120)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        for one in asking:
            one.result()
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) > 40
    assert (tmp_path / "log").read_text().endswith("every request that was in progress is answered.\n")


def test_the_log_tells_nothing_of_an_image(model: Path, tmp_path: Path) -> None:
    """Neither names nor values, not even where libraries warn of them."""
    pixels = np.arange(1600, dtype=np.uint16).reshape(40, 40)
    odd = make(pixels, PatientName="Doe^Jane", BitsStored=77, PixelSpacing=["0.123456789012345678", "1"])
    content = save(tmp_path / "odd.dcm", odd).read_bytes()
    with serving(model, tmp_path / "log") as (process, client):
        status, answer = client.score([("Doe_Jane.dcm", content), ("Doe_2.dcm", content[:300])])
        assert status == 200
        assert "score" in answer["images"][0], answer
        assert "error" in answer["images"][1]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == 4
    assert lines[1] == f"anatpaste serve: {NOT_FOR_CLINICAL_USE}"
    assert not re.search("Doe|dcm|77|0.1234|Jane", "".join(lines).replace(str(model), ""))


def test_an_address_that_is_taken(model: Path, tmp_path: Path) -> None:
    with serving(model, tmp_path / "log") as (_, client):
        words = ["-m", "anatpaste_gpu.cli", "serve", str(model), "--gpu", "-1", "--port", str(client.port)]
        done = subprocess.run(
            [sys.executable, *words], cwd=REPOSITORY, capture_output=True, text=True, env=dict(os.environ)
        )
    assert done.returncode == 1
    sentence = f"127.0.0.1 port {client.port} cannot be listened at: Address already in use.\n"
    assert done.stderr == f"anatpaste serve: {sentence}"
