"""A bill of materials (CycloneDX, JSON) of what an installation brings, for whoever has to list it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import uuid
from collections.abc import Iterable
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dev import REPOSITORY
from dev.floors import declared

from .dependencies import USERS, brought, installed, requirements
from .gate import Failed, Skipped, Work
from .licences import licence_of
from .versions import stated


def check(work: Work) -> str:
    """Writes sbom.cdx.json: equal for equal environments, and valid by CycloneDX's schema."""
    try:
        text, count = bill()
    except ImportError as error:
        raise Skipped(f"{error.name} is not installed: pip install 'anatpaste_gpu[release]'") from error
    path = work.folder / "sbom.cdx.json"
    path.write_text(text, encoding="utf-8")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    trouble = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if trouble is not None:
        raise Failed(f"{path.name} is not valid: {trouble}")
    return f"{path.name} lists {count} packages and who brings whom; valid by CycloneDX 1.6"


def bill() -> tuple[str, int]:
    """The bill as JSON, and how many packages it lists."""
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion

    name, version = declared()["name"], stated(REPOSITORY)
    wanted = requirements(USERS)
    found, _ = installed(wanted)
    root = Component(name=name, version=version, type=ComponentType.LIBRARY, bom_ref=f"{name}=={version}")
    parts = {one: _component(one, distribution) for one, distribution in found.items()}
    made: Any = Bom(components=parts.values())
    made.metadata.component = root
    # Neither the time nor a number by chance, so that equal environments have equal bills.
    made.metadata.timestamp = None
    made.register_dependency(root, [parts[one] for one in _names(wanted) if one in parts])
    for one, distribution in found.items():
        made.register_dependency(
            parts[one], [parts[other] for other in _names(brought(distribution)) if other in parts]
        )
    made.serial_number = _number(sorted(f"{one}=={part.version}" for one, part in parts.items()))
    text = make_outputter(made, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=1)
    return text + "\n", len(parts)


def _component(name: str, distribution: importlib.metadata.Distribution) -> Any:
    from cyclonedx.factory.license import LicenseFactory
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    version, licence = distribution.version, licence_of(distribution)
    return Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        bom_ref=f"{name}=={version}",
        purl=PackageURL("pypi", name=name, version=version),
        licenses=[LicenseFactory().make_from_string(licence)] if licence else [],
    )


def _names(requirements: Iterable[Requirement]) -> list[str]:
    return sorted({canonicalize_name(one.name) for one in requirements})


def _number(lines: Iterable[str]) -> uuid.UUID:
    """A UUID of the content."""
    return uuid.UUID(bytes=hashlib.sha256("\n".join(lines).encode()).digest()[:16], version=4)
