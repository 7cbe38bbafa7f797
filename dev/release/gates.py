"""The gates, in the order in which they build on each other; what is quick and needs nothing comes first."""

from __future__ import annotations

from . import bill, binaries, cibuild, citation, container, licences, metadata, sources, versions, wheels
from .gate import Gate

GATES = (
    Gate("version", versions.check),
    Gate("citation", citation.check),
    Gate("licences", licences.check),
    Gate("sbom", bill.check),
    Gate("sdist", sources.check),
    Gate("wheel-cpu", wheels.check_cpu),
    Gate("wheel-cuda", wheels.check_cuda),
    Gate("smoke", wheels.check_smoke),
    Gate("metadata", metadata.check),
    Gate("contents", metadata.check_contents),
    Gate("abi3", binaries.check_abi3),
    Gate("manylinux", binaries.check_manylinux),
    Gate("cibuildwheel", cibuild.check),
    Gate("container", container.check),
)
