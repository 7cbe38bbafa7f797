"""Many clients at once against `anatpaste serve`: is every answer right, how long, how much memory?

    python -m bench.serve_load RUN_DIR -o bench/results/amd-epyc-2-cores/serve.json

Starts the command in a process of its own and asks it from threads of this one, over loopback. Every request
has one to three phantoms as PNG or JPEG, some of them broken, under names of its own; every answer is
compared with what the detector gives for the very file. A request that is turned away (429, 503) is asked
again, and counted. Clients and service share the cores, so images/s are what both together reach. Memory is
read after each part of the load; the file that -o names keeps the loads that it holds, and gets this one too.
"""

from __future__ import annotations

import argparse
import http.client
import importlib.metadata
import itertools
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from anatpaste_gpu import load
from anatpaste_gpu.data import load_dataset
from anatpaste_gpu.methods import Detector

from .machine import facts

PICTURES, SIDE, MOST_FILES = 48, 256, 3
#: Batches of another size go through other kernels: a score may differ by so much of itself.
TOLERANCE = 1e-6
#: Requests before the clock starts and memory is read: threads and buffers are there then.
WARM_UP = 200
#: Parts of the load, after each of which memory is read; quarters are compared.
PARTS, QUARTERS = 8, 4
#: What the service is made of.
_PACKAGES = ("fastapi", "starlette", "uvicorn", "python-multipart", "prometheus-client")
_MEBIBYTE = 1 << 20
_WAIT = 0.05


@dataclass
class Tally:
    """What clients saw.

    Attributes:
        seconds: of each request that was answered.
        images, broken: files that were answered with a score, and with a sentence.
        wrong: answers that were not those of their files; the first few in words.
        statuses: of all answers.
        largest: difference of a score from the detector's own, as a share of it.
    """

    seconds: list[float] = field(default_factory=list)
    images: int = 0
    broken: int = 0
    wrong: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    largest: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


def pictures(folder: Path) -> list[Path]:
    """Phantoms as files, PNG and JPEG by turns."""
    sizes = {"train_size": 4, "validation_size": 4, "test_size": PICTURES // 2}
    images = load_dataset("demo", image_size=SIDE, progress=False, **sizes).test.images[:, 0].numpy()
    paths = [folder / f"{number}.{('png', 'jpg')[number % 2]}" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return paths


@contextmanager
def service(run_dir: Path, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The command at a free port of the loopback interface; its process and the port."""
    words = [sys.executable, "-m", "anatpaste_gpu.cli", "serve", str(run_dir), "--gpu", "-1", "--port", "0"]
    with log.open("wb") as stream, subprocess.Popen(words, stdout=stream, stderr=stream) as process:
        try:
            while not (found := re.search(r"serving http://127\.0\.0\.1:(\d+)/", log.read_text())):
                if process.poll() is not None:
                    raise RuntimeError(log.read_text())
                time.sleep(_WAIT)
            yield process, int(found[1])
        finally:
            process.kill()


def metrics(port: int) -> dict[str, float]:
    """Values by name and labels."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


def form(files: list[tuple[str, bytes]]) -> tuple[bytes, dict[str, str]]:
    """A multipart form, and its header."""
    boundary = uuid.uuid4().hex
    head = '--{}\r\nContent-Disposition: form-data; name="files"; filename="{}"\r\n\r\n'
    parts = [head.format(boundary, name).encode() + content + b"\r\n" for name, content in files]
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


class Load:
    """Requests of several clients, each the same whoever sends it.

    Args:
        port: of the service.
        contents: of the files that can be read.
        expected: their scores.
        broken: the share of files that are cut off.
    """

    def __init__(self, port: int, contents: list[bytes], expected: list[float], broken: float) -> None:
        self._port, self._contents, self._expected, self._broken = port, contents, expected, broken

    def run(self, requests: range, clients: int, tally: Tally) -> None:
        """Sends them all, each client the next one when its last is answered."""
        numbers = iter(requests)
        threads = [threading.Thread(target=self._client, args=(numbers, tally)) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _client(self, numbers: Iterator[int], tally: Tally) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=300)
        while True:
            with tally.lock:
                number = next(numbers, None)
            if number is None:
                return
            chosen = self._chosen(number)
            body, headers = form([(name, content) for name, content, _ in chosen])
            begun = time.perf_counter()
            for _ in itertools.count():
                connection.request("POST", "/score", body, headers)
                response = connection.getresponse()
                answer = json.loads(response.read())
                with tally.lock:
                    tally.statuses[response.status] += 1
                if response.status not in (429, 503):
                    break
                time.sleep(_WAIT)
            with tally.lock:
                tally.seconds.append(time.perf_counter() - begun)
                self._compare(number, chosen, answer, tally)

    def _chosen(self, number: int) -> list[tuple[str, bytes, float | None]]:
        """Names, contents and scores of a request's files; None of one that is cut off."""
        draw = random.Random(number)
        files: list[tuple[str, bytes, float | None]] = []
        for place in range(draw.randint(1, MOST_FILES)):
            which = draw.randrange(len(self._contents))
            content, score = self._contents[which], self._expected[which]
            name = f"{number}-{place}.img"
            is_broken = draw.random() < self._broken
            files.append((name, content[: len(content) // 2], None) if is_broken else (name, content, score))
        return files

    def _compare(
        self,
        number: int,
        chosen: list[tuple[str, bytes, float | None]],
        answer: dict[str, Any],
        tally: Tally,
    ) -> None:
        images = answer.get("images", [])
        if [image["name"] for image in images] != [name for name, _, _ in chosen]:
            tally.wrong.append(f"request {number}: names are not its own ({answer.get('error')}).")
            return
        for image, (name, _, expected) in zip(images, chosen, strict=True):
            if expected is None:
                tally.broken += 1
                if not str(image.get("error")).startswith(f"{name}: "):
                    tally.wrong.append(f"{name} is broken, and was answered with {image}.")
                continue
            tally.images += 1
            difference = abs(image.get("score", np.inf) - expected) / abs(expected)
            tally.largest = max(tally.largest, difference)
            if difference > TOLERANCE:
                tally.wrong.append(f"{name} scores {expected}, and was answered with {image}.")


def measured(run_dir: Path, requests: int, clients: int, broken: float) -> dict[str, Any]:
    """The record of one load."""
    detector: Detector = load(run_dir, "cpu")
    with tempfile.TemporaryDirectory() as name:
        paths = pictures(Path(name))
        expected = detector(paths).pred_score.tolist()
        contents = [path.read_bytes() for path in paths]
        with service(run_dir, Path(name) / "log") as (process, port):
            sent = Load(port, contents, expected, broken)
            sent.run(range(-WARM_UP, 0), clients, Tally())
            seen, begun, tally = [metrics(port)], time.perf_counter(), Tally()
            for part in range(PARTS):
                sent.run(range(requests * part // PARTS, requests * (part + 1) // PARTS), clients, tally)
                seen.append(metrics(port))
            wall = time.perf_counter() - begun
            process.send_signal(signal.SIGTERM)
            status = process.wait(60)
    recipe = detector.learner.recipe
    return {
        "method": recipe.method,
        "dataset": recipe.dataset,
        "image_size": recipe.image_size,
        "files": f"{PICTURES} phantoms of {SIDE} x {SIDE}, PNG and JPEG, 1 to {MOST_FILES} a request",
        "clients": clients,
        **told(tally, requests, wall),
        **inside(seen, wall),
        "exit_status_after_sigterm": status,
    }


def told(tally: Tally, requests: int, wall: float) -> dict[str, Any]:
    """What clients saw."""
    milliseconds = 1e3 * np.array(tally.seconds)
    return {
        "requests": requests,
        "lost": requests - len(tally.seconds),
        "wrong": len(tally.wrong),
        "wrong_first": tally.wrong[:3],
        "statuses": {str(status): count for status, count in sorted(tally.statuses.items())},
        "images": tally.images,
        "broken_files": tally.broken,
        "largest_relative_difference_of_a_score": tally.largest,
        "tolerance": TOLERANCE,
        "seconds": round(wall, 2),
        "images_per_second": round(tally.images / wall, 1),
        "request_ms": {
            f"p{part}": round(float(np.percentile(milliseconds, part)), 1) for part in (50, 90, 99)
        },
    }


def inside(seen: list[dict[str, float]], wall: float) -> dict[str, Any]:
    """What the service measured meanwhile, from its metrics before the load and after each part of it."""
    before, after = seen[0], seen[-1]

    def more(name: str) -> float:
        return after[name] - before.get(name, 0.0)

    batches = more("anatpaste_batch_size_count")
    return {
        "images_a_batch": round(more("anatpaste_batch_size_sum") / batches, 2),
        "service_cores": round(more("process_cpu_seconds_total") / wall, 2),
        **memory([one["process_resident_memory_bytes"] / _MEBIBYTE for one in seen]),
    }


def memory(held: list[float]) -> dict[str, Any]:
    """MiB before the load and after each part of it; their means over its first and its last quarter."""
    quarter = (len(held) - 1) // QUARTERS
    return {
        "rss_mib": [round(one, 1) for one in held],
        "rss_mib_first_quarter": round(float(np.mean(held[1 : 1 + quarter])), 1),
        "rss_mib_last_quarter": round(float(np.mean(held[-quarter:])), 1),
    }


def kept(path: Path, record: dict[str, Any]) -> dict[str, Any]:
    """What a file of loads holds, and a record after it."""
    before = json.loads(path.read_text(encoding="utf-8"))["loads"] if path.exists() else []
    return {"loads": [*before, record]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run_dir", type=Path, help="folder that train.py wrote, or a model file")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--broken", type=float, default=0.01, help="share of files that are cut off")
    parser.add_argument("--note", default="", help="what else the machine did, for the record")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    record = {
        "command": f"python -m bench.serve_load RUN_DIR --requests {args.requests} --clients {args.clients}",
        "note": args.note,
        "date": time.strftime("%Y-%m-%d"),
        **measured(args.run_dir, args.requests, args.clients, args.broken),
        "machine": {name: value for name, value in facts().items() if name != "pictures"},
        "service_versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }
    print(json.dumps(record, indent=1))
    if args.output is not None:
        args.output.write_text(json.dumps(kept(args.output, record), indent=1) + "\n", encoding="utf-8")
    if record["lost"] or record["wrong"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
