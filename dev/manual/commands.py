"""What `anatpaste COMMAND --help` prints, for every command."""

from __future__ import annotations

import contextlib
import io
import os

from anatpaste_gpu import cli
from dev import REPOSITORY

#: Columns of the help texts.
_WIDTH = "100"


def helps() -> str:
    """Markdown: a heading and a block a command, and the exit statuses' list before them."""
    parts = [_block(_help())]
    for command, meaning in cli.COMMANDS.items():
        parts.append(f"## anatpaste {command}\n\nTo {meaning}.\n\n{_block(_help(command))}")
    return "\n\n".join(parts)


def _help(*command: str) -> str:
    printed = io.StringIO()
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = _WIDTH
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            cli.main([*command, "--help"])
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before
    if not printed.getvalue():
        raise RuntimeError(f"anatpaste {' '.join(command)} --help printed nothing.")
    return printed.getvalue().replace(f"{REPOSITORY}/", "")


def _block(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```"
