"""Checks that configs share: ranges, numbers and choices; the sentence names the class and the field."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np


class CheckedConfig:
    """Base of the frozen dataclasses of settings; each checks its fields in ``__post_init__``."""

    def _set_range(self, name: str, low: float, high: float, *, open_low: bool = False) -> None:
        """Checks a (low, high) field and stores it as a tuple of floats: YAML hands over lists."""
        value = getattr(self, name)
        if not isinstance(value, (tuple, list)) or len(value) != 2:
            raise TypeError(f"{self._named(name)} must be a pair (low, high), got {value!r}.")
        for bound in value:
            self._check_number(name, bound, low, high, open_low=open_low)
        if value[0] > value[1]:
            raise ValueError(f"{self._named(name)} must have low <= high, got {value!r}.")
        object.__setattr__(self, name, (float(value[0]), float(value[1])))

    def _set_number(self, name: str, low: float, high: float, *, open_low: bool = False) -> None:
        """Checks a number and stores a NumPy one as Python's, which JSON, YAML and torch's operators take."""
        value = plain(getattr(self, name))
        self._check_number(name, value, low, high, open_low=open_low)
        object.__setattr__(self, name, value)

    def _set_flag(self, name: str) -> None:
        """Checks a field that is True or False, and stores NumPy's as Python's."""
        value = plain(getattr(self, name))
        if not isinstance(value, bool):
            raise TypeError(f"{self._named(name)} must be True or False, got {value!r}.")
        object.__setattr__(self, name, value)

    def _check_number(
        self, name: str, value: Any, low: float, high: float, *, open_low: bool = False
    ) -> None:
        value = plain(value)
        if not is_number(value):
            raise TypeError(f"{self._named(name)} must be a number, got {value!r}.")
        inside = (low < value if open_low else low <= value) and value <= high  # False for NaN too
        if not inside:
            raise ValueError(
                f"{self._named(name)} must lie in {'(' if open_low else '['}{low}, {high}], got {value!r}."
            )

    def _check_choice(self, name: str, choices: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in choices:
            raise ValueError(f"{self._named(name)} must be one of {choices}, got {value!r}.")

    def _named(self, field: str) -> str:
        return f"{type(self).__name__}.{field}"


def is_whole(value: Any) -> bool:
    """Whether it is a whole number, Python's or NumPy's, and not True or False."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether it is a number, Python's or NumPy's, and not True or False."""
    return is_whole(value) or isinstance(value, (float, np.floating))


def plain(value: Any) -> Any:
    """A NumPy scalar as Python's own number, bool or text; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def exact_logarithms(pair: tuple[float, float]) -> tuple[float, float]:
    """Natural logarithms, correctly rounded, so that every machine draws the same.

    Kept here and not in the configs, whose attributes are all settings that the command line shows. A config
    asks for its own when it is made: torch.compile can look up what is known, but not compute with decimals.
    """
    for value in pair:
        if value not in _LOGARITHMS:
            _LOGARITHMS[value] = float(Decimal(value).ln())
    return _LOGARITHMS[pair[0]], _LOGARITHMS[pair[1]]


_LOGARITHMS: dict[float, float] = {}
