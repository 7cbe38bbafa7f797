"""Types of settings that the command line parses and that dataclasses check, and sections of settings.

The command line registers the restricted numbers with its parser, so that the parser and `Section` refuse the
same values; nothing here needs a parser.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import os
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    TypeAlias,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from typing_extensions import Self

from anatpaste_gpu.setting_checks import plain

_LOWER, _UPPER = (operator.ge, operator.gt), (operator.le, operator.lt)

if TYPE_CHECKING:
    Count: TypeAlias = int
    WholeNumber: TypeAlias = int
    ImageSide: TypeAlias = int
    GpuIndex: TypeAlias = int
    Seed: TypeAlias = int
    Resamplings: TypeAlias = int
    Positive: TypeAlias = float
    NotNegative: TypeAlias = float
    Fraction: TypeAlias = float
    CornerShare: TypeAlias = float
else:

    def _restricted(name: str, base: type, *restrictions: tuple[Any, float]) -> type:
        """A class of numbers within limits, made of a number or of its text."""

        def make(cls: type, value: Any) -> Any:
            number = base(value)
            if isinstance(value, bool) or (isinstance(value, float) and number != value):
                raise ValueError(f"must be a {'whole number' if base is int else 'number'}, got {value!r}.")
            if not _within(cls, number):
                raise ValueError(f"must be {_limits(cls, base is int)}, got {value}.")
            return base.__new__(cls, number)

        return type(name, (base,), {"_restrictions": restrictions, "__new__": make, "__module__": __name__})

    Count = _restricted("Count", int, (operator.ge, 1))
    WholeNumber = _restricted("WholeNumber", int, (operator.ge, 0))
    ImageSide = _restricted("ImageSide", int, (operator.ge, 16), (operator.le, 8192))
    GpuIndex = _restricted("GpuIndex", int, (operator.ge, -1))
    Seed = _restricted("Seed", int, (operator.ge, 0), (operator.le, 2**63 - 1))
    Resamplings = _restricted("Resamplings", int, (operator.ge, 100))
    Positive = _restricted("Positive", float, (operator.gt, 0.0), (operator.lt, math.inf))
    NotNegative = _restricted("NotNegative", float, (operator.ge, 0.0), (operator.lt, math.inf))
    Fraction = _restricted("Fraction", float, (operator.ge, 0.0), (operator.lt, 1.0))
    CornerShare = _restricted("CornerShare", float, (operator.ge, 0.0), (operator.lt, 0.5))

#: All restricted numbers, for a parser to be told of.
RESTRICTED: tuple[type, ...] = (
    *(Count, WholeNumber, ImageSide, GpuIndex, Seed, Resamplings),
    *(Positive, NotNegative, Fraction, CornerShare),
)

_Section = TypeVar("_Section", bound="Section")


class Section:
    """Base of frozen dataclasses of settings that may hold each other.

    A section within a section is a matter of the code alone: on the command line and in YAML the fields of
    all of them stand side by side. Every field is checked by its type.

    Raises:
        TypeError: a field is of the wrong kind.
        ValueError: a field is out of its range.
    """

    def __post_init__(self) -> None:
        for name, kind in _hints(type(self)).items():
            value = getattr(self, name)
            # YAML and JSON can write neither NumPy's scalars nor paths.
            value = os.fspath(value) if isinstance(value, os.PathLike) else plain(value)
            _check(name, kind, value)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                # Nor a restricted number of the parser's own class.
                value = int(value) if isinstance(value, int) else float(value)
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, **settings: Any) -> Self:
        """Makes the section of settings of its own and of the sections within; others have their defaults.

        Raises:
            ValueError: there is no setting of such a name.
        """
        unknown = sorted(set(settings) - set(setting_names(cls)))
        if unknown:
            raise ValueError(f"a training config must have the fields of {cls.__name__}, not {unknown}.")
        return _build(cls, settings)

    def replace(self, **settings: Any) -> Self:
        """The same with other values of some settings, its own or of the sections within."""
        return type(self).of(**{**self.settings(), **settings})

    def settings(self) -> dict[str, Any]:
        """All settings side by side."""
        found: dict[str, Any] = {}
        for name, kind in _hints(type(self)).items():
            value = getattr(self, name)
            found.update(value.settings() if _is_section(kind) else {name: value})
        return found


def sections(cls: type[Section]) -> tuple[type[Section], ...]:
    """A section's class and those within it."""
    inner = [kind for kind in _hints(cls).values() if _is_section(kind)]
    return (cls, *(found for kind in inner for found in sections(kind)))


def setting_names(cls: type[Section]) -> tuple[str, ...]:
    """Names of all settings, those of the sections within included."""
    return tuple(
        name for section in sections(cls) for name, kind in _hints(section).items() if not _is_section(kind)
    )


def _build(cls: type[_Section], settings: dict[str, Any]) -> _Section:
    chosen: dict[str, Any] = {}
    for name, kind in _hints(cls).items():
        if _is_section(kind):
            chosen[name] = _build(kind, settings)
        elif name in settings:
            chosen[name] = settings[name]
    return cls(**chosen)


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _hints(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _check(name: str, kind: Any, value: Any) -> None:
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise ValueError(f"{name} must be one of {', '.join(map(str, get_args(kind)))}, got {value!r}.")
    elif type(None) in get_args(kind):
        if value is not None and get_origin(kind) is not Literal:
            _check(name, Union[tuple(arg for arg in get_args(kind) if arg is not type(None))], value)  # noqa: UP007
    elif kind is bool:
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be true or false, got {value!r}.")
    elif kind is str:
        if not isinstance(value, str):
            raise TypeError(f"{name} must be text, got {value!r}.")
    elif hasattr(kind, "_restrictions"):
        _check_number(name, kind, value)
    elif isinstance(kind, type) and kind not in (object, Any) and not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise TypeError(f"{name} must be {article} {kind.__name__}, got {type(value).__name__}.")


def _check_number(name: str, kind: Any, value: Any) -> None:
    whole = issubclass(kind, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise TypeError(f"{name} must be a {'whole number' if whole else 'number'}, got {value!r}.")
    if not _within(kind, value):
        raise ValueError(f"{name} must be {_limits(kind, whole)}, got {value}.")


def _within(kind: Any, value: float) -> bool:
    return all(compare(value, bound) for compare, bound in kind._restrictions)  # False for NaN


def _limits(kind: Any, whole: bool) -> str:
    low = next(((compare, bound) for compare, bound in kind._restrictions if compare in _LOWER))
    high = next(((compare, bound) for compare, bound in kind._restrictions if compare in _UPPER), None)
    if whole:
        least = low[1] + (low[0] is operator.gt)
        return f"at least {least}" if high is None else f"in {least}..{high[1]}"
    assert high is not None, "a restricted real number has two ends"
    return f"in {'(' if low[0] is operator.gt else '['}{low[1]}, {high[1]})"
