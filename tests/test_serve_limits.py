"""What the service refuses, each time in one sentence: sizes, counts, pixels, time, strangers."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import zlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the extra serve brings it")

from anatpaste_gpu.cli.outcome import FAILED, WRONG_USAGE
from anatpaste_gpu.methods import Detector
from anatpaste_gpu.serve import access
from anatpaste_gpu.serve.access import TOKEN_VARIABLE, Token, is_loopback, listening_socket, read_token
from anatpaste_gpu.serve.admission import Admission
from anatpaste_gpu.serve.limits import Limits, Refusal
from anatpaste_gpu.serve.uploads import Upload, base_name, read_uploads

from .commands import run
from .serving import Client, form, served
from .test_serve import Slow, detector, png, wait_until

__all__ = ["detector"]  # a fixture

SECRET = "correct-horse-battery"
SMALL = Limits(
    request_bytes=20_000,
    held_bytes=30_000,
    files=2,
    heat_maps=1,
    pixels=5000,
    queue=3,
    seconds=30,
)


def error(answer: bytes | dict[str, Any]) -> str:
    return str((json.loads(answer) if isinstance(answer, bytes) else answer)["error"])


def bomb(side: int) -> bytes:
    """A PNG file of few bytes whose header claims side x side pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_sizes_counts_and_pixels(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(detector, SMALL) as running:
        client = running.client
        status, answer = client.score([("a.png", bytes(20_000))])
        assert (status, error(answer)) == (
            413,
            "A request may have at most 20000 bytes; send fewer files in each.",
        )
        assert in_pieces(client, [("a.png", bytes(20_000))])[0] == 413
        status, answer = client.score([("a.png", png(0))] * 3)
        assert (status, error(answer)) == (
            413,
            "A request may have at most 2 files; send the rest in others.",
        )
        status, answer = client.score([("a.png", png(0))] * 2, "overlay")
        assert (status, error(answer)) == (413, "A request for heat maps may have at most 1 files.")
        status, answer = client.score([("a.png", png(0))], "everything")
        assert (status, error(answer)) == (422, "heat_map must be none, overlay, map.")
        status, _, body = client.ask("POST", "/score", b"files", content_type="text/plain")
        assert status == 422
        assert error(body).startswith("Expected a multipart/form-data form")
        assert client.ask("GET", "/score")[0] == 405

        def fail(image: Image.Image) -> None:
            raise AssertionError("it was decoded")

        monkeypatch.setattr("anatpaste_gpu.data.images._load_upright", fail)
        for side in (71, 60_000):
            status, answer = client.score([("bomb.png", bomb(side))])
            assert status == 422
            assert "than the 5000 pixels allowed" in error(answer) or "more pixels than the 5000" in error(
                answer
            )
        metrics = client.metrics()
    assert metrics['anatpaste_failures_total{kind="pixels"}'] == 2
    assert metrics['anatpaste_failures_total{kind="bytes"}'] == 2
    assert metrics['anatpaste_failures_total{kind="files"}'] == 2
    assert metrics["anatpaste_images_in_progress"] == metrics["anatpaste_requests_in_progress"] == 0


def in_pieces(client: Client, files: list[tuple[str, bytes]]) -> tuple[int, bytes]:
    """A request that does not say how long it is."""
    body, content_type = form(files)
    pieces = (body[start : start + 1000] for start in range(0, len(body), 1000))
    status, _, answer = client.ask("POST", "/score", pieces, content_type=content_type)  # type: ignore[arg-type]
    return status, answer


def test_a_full_queue_and_a_slow_answer(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(queue=3, files=2, seconds=2, request_bytes=20_000, held_bytes=1 << 20)
    with served(detector, limits) as running, ThreadPoolExecutor(2) as pool:
        client, slow = running.client, Slow(monkeypatch)
        two = [("a.png", png(0)), ("b.png", png(1))]
        waiting = pool.submit(client.score, two)
        slow.begun.acquire()
        status, answer = client.score(two)
        assert (status, error(answer)) == (429, "2 images are waiting, of 3 at most; try again later.")
        assert client.ask("GET", "/health")[0] == 200
        status, answer = waiting.result()
        assert (status, error(answer)) == (
            503,
            "The answer would have taken longer than 2 seconds; try again with fewer files.",
        )
        wait_until(client, "anatpaste_images_in_progress", 0)
        slow.go.set()
        assert client.score(two)[0] == 200
        assert client.metrics()['anatpaste_failures_total{kind="queue"}'] == 1


def test_a_body_that_does_not_come_is_not_waited_for(detector: Detector) -> None:
    head = "POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nContent-Type: multipart/form-data; "
    with served(detector, Limits(seconds=0.5)) as running:
        address = ("127.0.0.1", running.client.port)
        with socket.create_connection(address, timeout=60) as stalled:
            stalled.sendall(f"{head}boundary=b\r\n\r\n--b".encode())
            assert stalled.recv(1000).startswith(b"HTTP/1.1 503 ")
        with socket.create_connection(address, timeout=60) as gone:
            gone.sendall(f"{head}boundary=b\r\n\r\n".encode())
        wait_until(running.client, "anatpaste_requests_in_progress", 0)


def test_a_client_that_sends_on_still_hears_why_not(detector: Detector) -> None:
    """A body larger than sockets hold, of a kind that is refused by its first bytes."""
    with served(detector, Limits()) as running:
        status, _, body = running.client.ask("POST", "/score", bytes(8 << 20), content_type="image/png")
        assert (status, error(body)[:8]) == (422, "Expected")


def test_admission_counts_what_is_held() -> None:
    admission = Admission(SMALL)
    with admission.place(20_000) as place:
        place.take(2)
        assert not admission.idle.is_set()
        with pytest.raises(Refusal, match=r"^The requests in progress hold as much as they may; try"):
            admission.place(None).__enter__()
        with admission.place(10_000) as other, pytest.raises(Refusal, match=r"^2 images are waiting, of 3"):
            other.take(2)
    assert (admission.requests, admission.images, admission.held_bytes) == (0, 0, 0)
    assert admission.idle.is_set()


class TestToken:
    def test_all_but_the_page_wants_it(self, detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
        compared: list[tuple[bytes, bytes]] = []
        compare = access.hmac.compare_digest
        monkeypatch.setattr(
            access.hmac, "compare_digest", lambda *both: compared.append(both) or compare(*both)
        )
        with served(detector, token=SECRET) as running:
            client = running.client
            for wrong in ({}, {"authorization": SECRET}, {"authorization": f"Bearer {SECRET}x"}):
                status, answer = client.score([("a.png", png(0))], **wrong)
                assert status == 401
                assert error(answer).startswith("This service wants its token")
                assert client.ask("GET", "/metrics", **wrong)[0] == 401
            assert client.ask("GET", "/metrics")[1]["www-authenticate"] == "Bearer"
            assert client.score([("a.png", png(0))], authorization=f"bearer {SECRET}")[0] == 200
            assert [client.ask("GET", path)[0] for path in ("/", "/health", "/docs")] == [200, 200, 200]
            assert client.json("/health")["token"]
        assert compared
        assert all(len(one) == 32 for both in compared for one in both), "in constant time, of one length"

    def test_where_it_comes_from(self, tmp_path: Path) -> None:
        file = tmp_path / "token"
        file.write_text(f"{SECRET}\n")
        for token in (read_token(file, "another-token-of-many"), read_token(None, SECRET)):
            assert token is not None
            token.check(f"Bearer {SECRET}".encode())
        assert read_token(None, None) is None
        with pytest.raises(ValueError, match="at least 16 printable ASCII letters") as caught:
            Token("too short")
        assert "too short" not in str(caught.value)

    def test_loopback(self) -> None:
        with listening_socket("localhost", 0) as near, listening_socket("0.0.0.0", 0) as far:
            assert (is_loopback(near), is_loopback(far)) == (True, False)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--host", "0.0.0.0", "--port", 0), "--host 0.0.0.0 can be reached from other machines"),
        (("--port", 70_000), "port must be in 0..65535, got 70000"),
        (("--host", "no such host"), "no such host port 8000 cannot be listened at"),
        (("--max-files", 0), "files must be at least 1, got 0"),
        (("--max-queue", 3), "queue must be at least files, 16, got 3"),
        (("--max-held-mib", 1), "held_bytes must be at least request_bytes"),
        (("--max-seconds", "nan"), "seconds must be a finite number above 0"),
        (("--max-wait-ms", -1), "wait_ms must be a finite number, 0 or more"),
        (("--token-file", "nowhere"), "nowhere: the token cannot be read (No such file or directory)."),
        (("--port", 0), "there is no such run folder"),
    ],
)
def test_the_command_refuses_in_a_sentence(
    words: tuple[object, ...],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert run("serve", tmp_path / "run", "--gpu", "-1", *map(str, words)) == FAILED
    said = capsys.readouterr().err
    assert said.startswith("anatpaste serve: ")
    assert sentence in said
    assert len(said.splitlines()) == 1


def test_no_token_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run("serve", "run", "--token", SECRET)
    assert stop.value.code == WRONG_USAGE


def parsed(body: bytes, content_type: str, step: int = 7, limits: Limits = SMALL) -> list[Upload]:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), step):
            yield body[start : start + step]

    return asyncio.run(read_uploads(content_type, chunks(), limits))


class TestForms:
    @pytest.mark.parametrize("step", [1, 7, 100_000])
    def test_whatever_pieces_it_comes_in(self, step: int) -> None:
        files = [("a.png", png(0)), ('b "x".png'.replace('"', "%22"), b"\r\n--not the boundary\r\n")]
        found = parsed(*form(files), step)
        assert [(one.name, one.content) for one in found] == files

    def test_forms_that_are_none(self) -> None:
        body, content_type = form([("a.png", b"content")])
        field = body.replace(b'; filename="a.png"', b"")
        long = body.replace(b"\r\n\r\n", b"\r\nX-Long: " + bytes(9000).replace(b"\0", b"x") + b"\r\n\r\n", 1)
        empty = form([])
        for wrong, kind, sentence in (
            (body[:-8], content_type, "The form ends before its last boundary."),
            (b"--no" + body, content_type, "The form cannot be read"),
            (field, content_type, "The form may hold files alone"),
            (long, content_type, "The form cannot be read"),
            (*empty, "The form"),
            (body, "multipart/form-data", "Expected a multipart/form-data form"),
            (body, f"{content_type}{'x' * 300}", "The form cannot be read"),
        ):
            with pytest.raises(Refusal, match=sentence) as caught:
                parsed(wrong, kind)
            assert caught.value.status == 422

    @pytest.mark.parametrize(
        ("given", "name"),
        [
            (b"../../etc/passwd", "passwd"),
            (b"C:\\Users\\Doe\\x.png", "x.png"),
            (b"a\x1b[31m\x00\r\n.png", "a[31m.png"),
            ("a\u202egnp.exe".encode(), "agnp.exe"),
            ("胸部.dcm".encode(), "胸部.dcm"),
            (b"\xff.png", "\ufffd.png"),
            (b"", "file-3"),
            (b"x/..", "file-3"),
            (b"n" * 500, "n" * 120),
        ],
    )
    def test_names_lead_nowhere(self, given: bytes, name: str) -> None:
        assert base_name(given, 3) == name
