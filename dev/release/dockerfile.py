"""A Dockerfile as instructions, with its arguments and variables filled in."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

_CONTINUED = re.compile(r"\\\n\s*")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
# `NAME=value` pairs of ENV and ARG; a value here is a word.
_PAIR = re.compile(r"(\w+)=(\S*)")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One instruction of the stages that a build goes through.

    Attributes:
        stage: number of the stage, in the order of the file.
        word: RUN, COPY and so on.
        text: what follows it; variables are filled in, but for RUN, whose shell does that.
        variables: of the stage, so far.
    """

    stage: int
    word: str
    text: str
    variables: Mapping[str, str]


def instructions(path: Path, arguments: Mapping[str, str]) -> list[Instruction]:
    """All instructions of a file, those of a stage that another one is made from before its own.

    Args:
        path: the file.
        arguments: what --build-arg would give.

    Raises:
        ValueError: a stage is made from one that is not there.
    """
    stages: dict[str, dict[str, str]] = {}
    given: dict[str, str] = {}
    variables: dict[str, str] = {}
    found, number = list[Instruction](), -1
    for word, text in _lines(path):
        if word == "ARG" and number < 0:
            name, default = text.split("=", 1)
            given[name] = arguments.get(name, default)
            continue
        if word == "FROM":
            number += 1
            base, _, name = _filled(text, given).partition(" AS ")
            if base.startswith("base-") and base not in stages:
                raise ValueError(f"{path.name}: there is no stage {base}.")
            variables = dict(stages.get(base, {}))
            stages[name] = variables
        elif word == "ENV":
            variables |= {name: _filled(value, variables) for name, value in _PAIR.findall(text)}
        filled = text if word == "RUN" else _filled(text, {**given, **variables})
        found.append(Instruction(number, word, filled, dict(variables)))
    return found


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    text = "\n".join(
        line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    )
    for line in _CONTINUED.sub(" ", text).splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word.upper(), rest.strip()


def _filled(text: str, variables: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda found: variables.get(found[1] or found[2], found[0]), text)
