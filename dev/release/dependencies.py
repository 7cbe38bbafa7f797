"""What an installation with some extras brings, as far as it is installed here."""

from __future__ import annotations

import importlib.metadata
from collections import deque
from collections.abc import Iterable, Iterator

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dev.floors import declared

#: Extras that users install; those of developers and benchmarks bring nothing into a release.
USERS = ("all", "pretrained", "export", "openvino", "serve", "ray", "dicom-out", "mlflow", "wandb")


def requirements(extras: Iterable[str]) -> list[Requirement]:
    """The core's requirements and those of extras, with those of the extras that they name."""
    project = declared()
    found = [Requirement(line) for line in project["dependencies"]]
    waiting, seen = deque(extras), set[str]()
    while waiting:
        extra = waiting.popleft()
        if extra in seen:
            continue
        seen.add(extra)
        for requirement in map(Requirement, project["optional-dependencies"][extra]):
            if requirement.name == project["name"]:
                waiting.extend(requirement.extras)
            else:
                found.append(requirement)
    return found


def installed(
    wanted: Iterable[Requirement],
) -> tuple[dict[str, importlib.metadata.Distribution], list[str]]:
    """All that requirements bring, by their normal names, and the names of what is not installed here."""
    found: dict[str, importlib.metadata.Distribution] = {}
    missing, seen = set[str](), set[tuple[str, frozenset[str]]]()
    waiting = deque(wanted)
    while waiting:
        requirement = waiting.popleft()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            distribution = found.setdefault(name, importlib.metadata.distribution(requirement.name))
        except importlib.metadata.PackageNotFoundError:
            missing.add(name)
            continue
        waiting.extend(brought(distribution, extras))
    return dict(sorted(found.items())), sorted(missing)


def brought(
    distribution: importlib.metadata.Distribution, extras: frozenset[str] = frozenset()
) -> Iterator[Requirement]:
    """What a distribution with some of its extras requires on this machine."""
    for line in distribution.requires or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement
