"""Options that several commands have."""

from __future__ import annotations

import argparse

ENGINES = ("ray",)


def add_gpu_option(parser: argparse.ArgumentParser) -> None:
    """--gpu, which `anatpaste_gpu.devices.select_device` takes."""
    parser.add_argument("--gpu", type=int, default=0, help="index of the GPU, -1 for the CPU (default 0)")


def add_threads_option(parser: argparse.ArgumentParser) -> None:
    """--threads, as configs have it."""
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves the choice to torch")


def add_engine_options(parser: argparse.ArgumentParser, title: str, what: str) -> argparse._ArgumentGroup:
    """--engine and --address.

    Args:
        parser: the command's.
        title: of the group, which is returned.
        what: --engine does.
    """
    group = parser.add_argument_group(title, "see docs/cluster.md")
    group.add_argument("--engine", choices=ENGINES, help=what)
    group.add_argument(
        "--address", help="of a Ray cluster, such as auto; default: one of this machine's cores, for this run"
    )
    return group


def check_engine_options(options: argparse.Namespace, *others: str) -> None:
    """Checks that --engine is there where an option needs it.

    Args:
        options: the parsed ones.
        others: flags that need it beside --address.

    Raises:
        ValueError: it is not.
    """
    for flag in ("--address", *others):
        if options.engine is None and getattr(options, flag[2:].replace("-", "_")) is not None:
            raise ValueError(f"{flag} goes with --engine.")
