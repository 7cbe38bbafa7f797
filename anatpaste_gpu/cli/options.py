"""Options that several commands have."""

from __future__ import annotations

import argparse


def add_gpu_option(parser: argparse.ArgumentParser) -> None:
    """--gpu, which `anatpaste_gpu.devices.select_device` takes."""
    parser.add_argument("--gpu", type=int, default=0, help="index of the GPU, -1 for the CPU (default 0)")


def add_threads_option(parser: argparse.ArgumentParser) -> None:
    """--threads, as configs have it."""
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves the choice to torch")
