"""Serves a detector by HTTP: anatpaste serve RUN_DIR.

Exit status: 0 it was stopped by SIGTERM, SIGINT or SIGHUP, and what was in progress is answered; 1 it cannot
be served; 2 the command line is wrong.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from anatpaste_gpu.api import load, model_file
from anatpaste_gpu.cli.options import add_gpu_option
from anatpaste_gpu.cli.outcome import DONE, say, with_sentences
from anatpaste_gpu.data.registry import worker_count
from anatpaste_gpu.devices import select_device
from anatpaste_gpu.files import sha256_of
from anatpaste_gpu.methods.detector import BEST_F1_THRESHOLD, NORMAL_THRESHOLD
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.serve.access import TOKEN_VARIABLE, is_loopback, listening_socket, read_token
from anatpaste_gpu.serve.app import Service
from anatpaste_gpu.serve.faults import keep_quiet
from anatpaste_gpu.serve.limits import MEBIBYTE, Limits
from anatpaste_gpu.serve.server import serve


@with_sentences("serve")
def run(arguments: Sequence[str]) -> int:
    """The command as `anatpaste` calls it: everything that can be refused is, before the model is loaded."""
    options = _build_parser().parse_args(list(arguments))
    limits = _limits(options)
    worker_count(options.workers)
    token = read_token(options.token_file, os.environ.pop(TOKEN_VARIABLE, None))
    device, sentence = select_device(options.gpu)
    with listening_socket(options.host, options.port) as listening:
        if token is None and not is_loopback(listening):
            raise ValueError(
                f"--host {options.host} can be reached from other machines, so a token is needed: give "
                f"--token-file FILE, or set the environment variable {TOKEN_VARIABLE}."
            )
        model = model_file(options.run_dir)
        detector = load(model, device).with_threshold(options.threshold)
        service = Service(detector, sha256_of(model), limits=limits, token=token, workers=options.workers)
        host, port = listening.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"

        def announce() -> None:
            say("serve", sentence)
            say("serve", NOT_FOR_CLINICAL_USE)
            say("serve", f"serving {address} until SIGTERM or Ctrl-C.")

        keep_quiet()
        serve(service, listening, announce)
    say("serve", "stopped; every request that was in progress is answered.")
    return DONE


def _limits(options: argparse.Namespace) -> Limits:
    return Limits(
        request_bytes=int(options.max_request_mib * MEBIBYTE),
        files=options.max_files,
        heat_maps=options.max_heat_maps,
        pixels=options.max_pixels,
        seconds=options.max_seconds,
        queue=options.max_queue,
        held_bytes=int(options.max_held_mib * MEBIBYTE),
        batch=options.max_batch,
        wait_ms=options.max_wait_ms,
    )


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anatpaste serve",
        allow_abbrev=False,  # --token would be --token-file, and a secret stand in the list of processes
        description=f"Serves a trained detector by HTTP. {NOT_FOR_CLINICAL_USE}",
        epilog="GET / is a page that takes radiographs, POST /score takes them from programs, "
        "/health and /metrics are for whoever watches over it, /docs describes them all. Nothing of an "
        "image is kept.",
    )
    parser.add_argument("run_dir", type=Path, help="folder that train.py wrote, or a model file")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen at; other than loopback needs a token (default %(default)s)",
    )
    parser.add_argument(
        "--port", type=int, default=8000, help="0 takes any that is free (default %(default)s)"
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help=f"file with the token that requests must send; else the environment variable {TOKEN_VARIABLE}",
    )
    parser.add_argument(
        "--threshold",
        choices=(BEST_F1_THRESHOLD, NORMAL_THRESHOLD),
        help="as `anatpaste score` takes it",
    )
    _add_limits(parser)
    parser.add_argument(
        "--max-batch",
        type=int,
        metavar="N",
        help="images that are scored together (default: as `anatpaste score`)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="threads that decode, and on a CPU score (default: one a core)",
    )
    add_gpu_option(parser)
    return parser


def _add_limits(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that `_limits` reads, each with its usual value."""
    usual = Limits()
    for flag, kind, value, meaning in (
        ("--max-request-mib", float, usual.request_bytes / MEBIBYTE, "mebibytes of a request"),
        ("--max-files", int, usual.files, "files of a request"),
        ("--max-heat-maps", int, usual.heat_maps, "files of a request for heat maps"),
        ("--max-pixels", int, usual.pixels, "pixels of an image, told by its header before it is decoded"),
        ("--max-seconds", float, usual.seconds, "seconds from a request's head to the end of its answer"),
        ("--max-queue", int, usual.queue, "images of all requests that are not answered yet"),
        ("--max-held-mib", float, usual.held_bytes / MEBIBYTE, "mebibytes of all such requests"),
        (
            "--max-wait-ms",
            float,
            usual.wait_ms,
            "milliseconds that an image waits for others to be scored with",
        ),
    ):
        parser.add_argument(
            flag, type=kind, default=value, metavar="N", help=f"{meaning} (default %(default)s)"
        )
