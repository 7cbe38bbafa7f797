"""One style of docstring and of error: arguments are described, and sentences end with a full stop."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import anatpaste_gpu

PACKAGE = Path(anatpaste_gpu.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
#: The sections of Google's style, in their order.
SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises", "Example", "References")
_SECTION = re.compile(r"^([A-Z]\w+):$")
#: "name: text", "first, second: text" or "**name: text", one level below the section.
_ENTRY = re.compile(r"^ {4}(?=\S)([\w*]+(?:, [\w*]+)*): (.)")
#: Python's own words, which `from anatpaste_gpu import x` shows.
PYTHONS = "AttributeError"
#: What is filled in at the end of an error: sentences themselves.
SENTENCES = {"where_from(DATASET)", "where_from(name)", "reasons", "why", "error", "remedy", "skipped[-1]"}


def declares_all(path: Path) -> bool:
    return path.name == "__init__.py" and "__all__ = " in path.read_text(encoding="utf-8")


def public() -> dict[str, Any]:
    """Functions and classes that a package of ours names in its `__all__`, by where they are defined."""
    found = {}
    for path in filter(declares_all, FILES):
        module = importlib.import_module(".".join((PACKAGE.name, *path.parent.relative_to(PACKAGE).parts)))
        for name in module.__all__:
            item = getattr(module, name)
            if inspect.isfunction(item) or inspect.isclass(item):
                found[f"{item.__module__}.{item.__qualname__}"] = item
    return {name: item for name, item in sorted(found.items()) if name.startswith(PACKAGE.name)}


PUBLIC = public()


def sections(item: Any) -> dict[str, list[str]]:
    """Lines of a docstring by their section, in the order of the docstring; the text is that of ""."""
    found: dict[str, list[str]] = {"": []}
    for line in (inspect.getdoc(item) or "").splitlines():
        heading = _SECTION.match(line)
        if heading is not None and heading[1] in SECTIONS:
            found[heading[1]] = []
        else:
            found[list(found)[-1]].append(line)
    return found


def entries(lines: list[str]) -> list[str]:
    """Names that a section describes."""
    matches = (_ENTRY.match(line) for line in lines)
    return [name.lstrip("*") for match in matches if match is not None for name in match[1].split(", ")]


def parameters(item: Any) -> list[str]:
    """Of a function or a class's constructor, its own or described; dataclasses describe fields in place."""
    if inspect.isclass(item):
        inherited = "__init__" not in vars(item) and "Args:" not in (item.__doc__ or "")
        if dataclasses.is_dataclass(item) or inherited:
            return []
    return [name for name in inspect.signature(item).parameters if name != "self"]


@pytest.mark.parametrize("name", PUBLIC)
def test_what_is_public_names_its_arguments(name: str) -> None:
    """Exactly its own, in their order, and only sections that Google's style has, in its order."""
    item = PUBLIC[name]
    found = sections(item)
    assert "\n".join(found[""]).split("\n\n")[0].rstrip().endswith(".")
    assert [part for part in SECTIONS if part in found] == list(found)[1:]
    assert entries(found.get("Args", [])) == parameters(item)


def raised(path: Path) -> Iterator[tuple[int, str, ast.expr]]:
    """Line, class and message of the errors that a file raises with one."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            yield node.lineno, ast.unparse(node.exc.func), node.exc.args[0]


def ends_well(message: ast.expr) -> bool:
    """Whether a message that is written where it is raised ends with a full stop or with a sentence."""
    last = message.values[-1] if isinstance(message, ast.JoinedStr) else message
    if isinstance(last, ast.Constant):
        return str(last.value).endswith(".")
    return not isinstance(last, ast.FormattedValue) or ast.unparse(last.value) in SENTENCES


def test_error_sentences_end_with_a_full_stop() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line} {ast.unparse(message)}"
        for path in FILES
        for line, kind, message in raised(path)
        if kind.endswith("Error") and kind != PYTHONS and not ends_well(message)
    ]
    assert not wrong, wrong


@pytest.mark.parametrize(
    ("message", "well"),
    [
        ('"x must be 1."', True),
        ('"x must be 1"', False),
        ('f"x must be 1, got {x}"', False),
        ('f"x must be 1, got {x}."', True),
        ('f"x: no file. {where_from(name)}"', True),
        ("str(error)", True),
    ],
)
def test_endings_are_seen(message: str, well: bool) -> None:
    assert ends_well(ast.parse(message, mode="eval").body) is well


def test_missing_arguments_are_seen() -> None:
    def function(first: int, *rest: int, other: int, **options: int) -> None:
        """Does something.

        Args:
            first, *rest: Numbers, of which a line
                like: this is no name.
            **options: Others.

        Returns:
            Nothing: as it is.
        """

    assert parameters(function) == ["first", "rest", "other", "options"]
    assert entries(sections(function)["Args"]) == ["first", "rest", "options"]
