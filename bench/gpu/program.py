"""The command line that the programs share, and what they do without a GPU."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import anatpaste_gpu

from .images import Radiographs


def run(
    description: str | None,
    report: Callable[[Radiographs, argparse.Namespace], dict[str, Any]],
    **options: Any,
) -> int:
    """Parses the command line, makes the report, and writes it; the exit status is 1 where it did not pass.

    Args:
        description: of the program; its first line is shown.
        report: makes what is written. A value `passed` decides the exit status.
        options: further options' names and the keyword arguments of `add_argument`.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0] if description else None)
    parser.add_argument("--output", type=Path, help="write the JSON there instead of to the terminal")
    parser.add_argument("--images", type=Path, metavar="DIR", help="radiographs (default: phantoms)")
    parser.add_argument("--kept", type=Path, metavar="DIR", help="where made images are kept")
    for name, keywords in options.items():
        parser.add_argument(f"--{name}", **keywords)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("this needs an NVIDIA GPU that PyTorch can use.")
    if not anatpaste_gpu.has_cuda_kernels():
        sys.exit(anatpaste_gpu.why_no_cuda_kernels())
    result = report(Radiographs(arguments.images, arguments.kept), arguments)
    text = json.dumps({"device": torch.cuda.get_device_name(), **result}, indent=1)
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")
    passed = bool(result.get("passed", True))
    print(f"passed: {passed}" if arguments.output else text)
    return 0 if passed else 1
