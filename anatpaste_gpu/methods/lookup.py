"""Methods by name; and recipes as plain values, which need the methods' own settings."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from anatpaste_gpu.methods.protocol import Method
from anatpaste_gpu.methods.recipe import Recipe
from anatpaste_gpu.settings import AnatPasteConfig

_METHODS: dict[str, Method] = {}
# Settings that came after recipes had hashes, with the values that stand for how it was before; those of a
# family under its name.
_BEFORE: dict[str, Any] = {
    "contrast": "none",
    "normalisation": None,
    "patient_pattern": None,
    "validation": "labelled",
    "memory": {"smoothing": 0.0},
    "squid": {"score": "critic"},
}


def register(*methods: Method) -> None:
    """Adds methods; one of the same name takes the place of the one before.

    Args:
        *methods: what `get_method`, the command line and configs then know by their names.
    """
    _METHODS.update({method.name: method for method in methods})


def method_names() -> tuple[str, ...]:
    """Names that `get_method` knows, in the order of a table."""
    return tuple(_METHODS)


def get_method(name: str) -> Method:
    """A method by its name.

    Args:
        name: one of `method_names()`.

    Raises:
        ValueError: `name` is unknown.
    """
    if name not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(_METHODS)}, got {name!r}.")
    return _METHODS[name]


def recipe_to_dict(recipe: Recipe) -> dict[str, Any]:
    """Plain values by the names of the command line; a method's own settings under its family's name."""
    content = recipe.settings()
    options = content.pop("options")
    if options is not None:
        content[get_method(recipe.method).family] = dataclasses.asdict(options)
    content["augmentation"] = dataclasses.asdict(recipe.pasting.augmentation)
    plain: dict[str, Any] = json.loads(json.dumps(content))
    return plain


def recipe_identity(recipe: Recipe) -> dict[str, Any]:
    """The settings that tell a recipe from others, so that new settings change no recipe of before.

    `recipe_to_dict` without settings that came later and are as it was before them.
    """
    content = recipe_to_dict(recipe)
    for family in _BEFORE.keys() & content.keys():
        if isinstance(content[family], dict):
            content[family] = _without(content[family], _BEFORE[family])
    return _without(content, _BEFORE)


def _without(settings: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in before or value != before[name]}


def recipe_hash(recipe: Recipe) -> str:
    """SHA-256 of a recipe: equal hashes on one device and one data set give equal runs."""
    text = json.dumps(recipe_identity(recipe), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def recipe_from_dict(content: Mapping[str, Any]) -> Recipe:
    """The inverse of `recipe_to_dict` and `recipe_identity`; settings that are not there have their defaults.

    Raises:
        ValueError, TypeError: a name or a value is none of a recipe.
    """
    return Recipe.of(**with_objects(content))


def with_objects(content: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with dataclasses in place of the mappings that YAML and JSON hold.

    Raises:
        ValueError, TypeError: a name or a value is none of theirs.
    """
    settings = dict(content)
    if isinstance(settings.get("augmentation"), Mapping):
        settings["augmentation"] = AnatPasteConfig(**settings["augmentation"])
    method = get_method(settings.get("method", Recipe.method))
    if method.options is not None and method.family in settings:
        own = settings.pop(method.family)
        settings["options"] = method.options(**own) if isinstance(own, Mapping) else own
    return settings
