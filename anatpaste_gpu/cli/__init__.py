"""The console command `anatpaste`: one word says what to do, the rest is that word's own command line."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

import anatpaste_gpu
from anatpaste_gpu.cli.outcome import EXIT_CODES, STOPPED, WRONG_USAGE, flush, say, take_any_name
from anatpaste_gpu.extras import MissingExtra, require
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE

#: Word -> what it does; each is a module of this package with `run(arguments) -> int`.
COMMANDS = {
    "prepare": "draw a data set's split, count it, save it as a manifest, or check one",
    "train": "train a detector on normal images and evaluate it (what train.py does)",
    "score": "score images with a trained detector",
    "serve": "serve a trained detector by HTTP: a page, JSON, metrics",
    "export": "write a trained detector for ONNX Runtime, OpenVINO or torch.export",
    "fuse": "make one detector of finished runs",
    "localise": "measure whether detectors' heat maps point at the boxes of a data set",
    "report": "make one self-contained page, and figures, of finished runs",
    "reproduce": "fill one of the paper's tables: all runs, the table, a page",
    "augment": "draw a gallery, or write a folder, of augmented images",
}
#: Word -> the extra that it needs.
_EXTRAS = {
    "prepare": "data",
    "train": "train",
    "score": "train",
    "serve": "serve",
    "export": "train",
    "fuse": "train",
    "localise": "train",
    "report": "report",
    "reproduce": "report",
    "augment": "report",
}
_EXAMPLE = """\
from nothing to a page:
  anatpaste train --dataset demo --preset smoke --gpu -1 --output runs/smoke
  anatpaste score runs/smoke IMAGE_OR_FOLDER...
  anatpaste report runs/smoke -o report.html
one of the paper's tables:
  anatpaste reproduce --table 1 --preset smoke --gpu -1 -o out --data-root zhanglab=DIR rsna=DIR
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status, one of `EXIT_CODES`."""
    take_any_name()
    try:
        options = _build_parser().parse_args(sys.argv[1:] if arguments is None else list(arguments))
        return _carry_out(options.command, options.arguments)
    finally:
        flush()  # what --help printed, too


def train_command() -> int:
    """The console command `anatpaste-train`, which train.py is too."""
    return _carry_out("train", sys.argv[1:], start="main")


def score_command() -> int:
    """The console command `anatpaste-score`."""
    return _carry_out("score", sys.argv[1:])


def _carry_out(command: str, arguments: Sequence[str], *, start: str = "run") -> int:
    try:
        require("this command", _EXTRAS[command])
        # Imported now and not above: --help need not wait for what only one command uses.
        module = importlib.import_module(f"anatpaste_gpu.cli.{command}")
        status: int = getattr(module, start)(arguments)
    except MissingExtra as error:
        say(command, str(error))
        return WRONG_USAGE
    except KeyboardInterrupt:
        say(command, "stopped.")
        return STOPPED
    return status


def _build_parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {meaning}" for name, meaning in COMMANDS.items())
    codes = "\n".join(f"  {code:<5}  {meaning}" for code, meaning in EXIT_CODES.items())
    parser = argparse.ArgumentParser(
        prog="anatpaste",
        usage="anatpaste [--version] [--help] COMMAND ...",
        description="Anomaly detection in chest radiographs, trained on normal images only (AnatPaste).\n"
        f"{NOT_FOR_CLINICAL_USE}\n\n"
        f"commands (anatpaste COMMAND --help lists all options of one):\n{commands}",
        epilog=f"{_EXAMPLE}\nexit status:\n{codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"anatpaste_gpu {anatpaste_gpu.__version__}")
    parser.add_argument("command", choices=tuple(COMMANDS), metavar="COMMAND", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser
