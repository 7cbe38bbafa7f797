"""What `make release-check` looks at: its cheap gates on this checkout, which find what is planted."""

from __future__ import annotations

import email.message
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dev import REPOSITORY
from dev.floors import declared
from dev.release import citation, container, licences, versions
from dev.release.dependencies import USERS, installed, requirements
from dev.release.dockerfile import instructions
from dev.release.gate import Failed, Gate, Skipped, Work, run, run_gate, tool
from dev.release.gates import GATES


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What states a version or a licence, to be changed."""
    (tmp_path / "anatpaste_gpu").mkdir()
    for name in ("anatpaste_gpu/VERSION", "CHANGELOG.md", "CITATION.cff", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    return tmp_path


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


class TestVersion:
    def test_this_checkout_has_one(self) -> None:
        assert versions.disagreements(REPOSITORY) == []

    @pytest.mark.parametrize(
        ("name", "old", "new", "found"),
        [
            ("CITATION.cff", "version: 0.1.0", "version: 0.2.0", "CITATION.cff has version 0.2.0"),
            ("CITATION.cff", "2026-11-22", "2026-11-23", "CITATION.cff was released on 2026-11-23"),
            ("CHANGELOG.md", "## [0.1.0]", "## [0.0.9]", "latest release of CHANGELOG.md is 0.0.9"),
            ("anatpaste_gpu/VERSION", "0.1.0", "v0.1", "VERSION v0.1 is not in its normal form 0.1"),
            ("anatpaste_gpu/VERSION", "0.1.0", "new", "VERSION 'new' is no version"),
            (
                "pyproject.toml",
                'dynamic = ["version"]',
                'version = "0.1.0"',
                "pyproject.toml states a version",
            ),
        ],
    )
    def test_another_one_is_found(self, checkout: Path, name: str, old: str, new: str, found: str) -> None:
        change(checkout / name, old, new)
        assert any(found in clause for clause in versions.disagreements(checkout))


class TestCitation:
    def test_this_one(self) -> None:
        assert citation.faults(REPOSITORY) == []

    @pytest.mark.parametrize(
        ("old", "new", "found"),
        [
            (
                citation.PAPER,
                "10.1000/1",
                f"must prefer the paper with the DOI {citation.PAPER}, got 10.1000/1",
            ),
            ("title: anatpaste_gpu", "", "CITATION.cff lacks title"),
            ("given-names: Junya", "", "an author of the paper lacks a name"),
            ("license: Apache-2.0", "license: MIT", "CITATION.cff has licence MIT, pyproject.toml another"),
        ],
    )
    def test_what_is_wrong_is_found(self, checkout: Path, old: str, new: str, found: str) -> None:
        change(checkout / "CITATION.cff", old, new)
        assert any(found in clause for clause in citation.faults(checkout))


def stating(name: str = "some", *classifiers: str, **fields: str) -> Any:
    """A distribution whose metadata state so much."""
    metadata = email.message.Message()
    metadata["Name"] = name
    for field, value in fields.items():
        metadata[field.replace("_", "-")] = value
    for line in classifiers:
        metadata["Classifier"] = f"License :: OSI Approved :: {line}"
    return SimpleNamespace(metadata=metadata)


class TestLicences:
    @pytest.fixture(autouse=True)
    def library(self) -> None:
        pytest.importorskip("license_expression", reason="pip install 'anatpaste_gpu[release]'")

    @pytest.mark.parametrize(
        ("licence", "allowed"),
        [
            ("MIT", True),
            ("Apache-2.0 OR GPL-3.0-only", True),
            ("Apache-2.0 AND GPL-3.0-only", False),
            ("(MIT OR GPL-3.0-only) AND BSD-3-Clause", True),
            ("Apache-2.0 WITH LLVM-exception", True),
            ("GPL-3.0-only", False),
            ("all rights reserved", False),
            (None, False),
        ],
    )
    def test_the_list(self, licence: str | None, allowed: bool) -> None:
        assert licences.goes(licence) is allowed

    @pytest.mark.parametrize(
        ("distribution", "licence"),
        [
            (stating(License_Expression="BSD-3-Clause"), "BSD-3-Clause"),
            (stating(License="Apache 2.0"), "Apache-2.0"),
            (stating("some", "MIT License"), "MIT"),
            (
                stating(
                    License="Copyright (c) by somebody, who grants nothing at all to anybody, ever and ever."
                ),
                None,
            ),
            (stating("cuda-toolkit"), licences.NVIDIA),
        ],
    )
    def test_what_is_stated(self, distribution: Any, licence: str | None) -> None:
        assert licences.licence_of(distribution) == licence

    def test_what_users_install(self) -> None:
        found, _ = installed(requirements(USERS))
        refused = [name for name, one in found.items() if not licences.goes(licences.licence_of(one))]
        assert refused == []
        assert {"torch", "numpy", "pillow"} <= set(found)
        assert "pylibjpeg-libjpeg" not in found


class TestContainer:
    def test_the_variants(self) -> None:
        cpu, cuda = (instructions(REPOSITORY / "Dockerfile", {"VARIANT": name}) for name in ("cpu", "cuda"))
        for steps, build in ((cpu, "cpu"), (cuda, "all")):
            last = [step for step in steps if step.word == "RUN"][-1]
            assert last.variables["ANATPASTE_BUILD"] == build
            assert container.missing_sources(steps) == []
        assert any("cu130" in value for value in cuda[-1].variables.values())

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        (tmp_path / "Dockerfile").write_text("FROM python:3.11 AS one\nCOPY nothing.txt \\\n  LICENSE ./\n")
        steps = instructions(tmp_path / "Dockerfile", {})
        assert container.missing_sources(steps) == ["COPY: there is no nothing.txt"]

    def test_a_stage_that_is_not_there(self) -> None:
        with pytest.raises(ValueError, match=r"^Dockerfile: there is no stage base-tpu\.$"):
            instructions(REPOSITORY / "Dockerfile", {"VARIANT": "tpu"})


class TestGates:
    @pytest.mark.parametrize(
        ("error", "ending"),
        [
            (Failed("because"), ("failed", "because")),
            (Skipped("because"), ("skipped", "because")),
            (OSError("no room"), ("failed", "OSError: no room")),
        ],
    )
    def test_how_they_end(self, error: Exception, ending: tuple[str, str], tmp_path: Path) -> None:
        def ends(work: Work) -> str:
            raise error

        assert run_gate(Gate("one", ends), Work(tmp_path))[:2] == ending
        assert run_gate(Gate("one", lambda work: "found"), Work(tmp_path))[:2] == ("passed", "found")

    def test_a_command_that_fails_says_so(self) -> None:
        with pytest.raises(Failed, match="ended with 3:\n    why"):
            run(["sh", "-c", "echo why; exit 3"])

    def test_a_tool_that_is_not_installed(self) -> None:
        with pytest.raises(
            Skipped, match=r"^no-such-tool is not installed: pip install 'anatpaste_gpu\[release\]'$"
        ):
            tool("no-such-tool")

    def test_the_page_names_all(self) -> None:
        text = (REPOSITORY / "docs" / "release.md").read_text(encoding="utf-8")
        assert re.findall(r"^\| `([a-z0-9-]+)` \|", text, re.MULTILINE) == [gate.name for gate in GATES]
        assert len(text.splitlines()) <= 60

    def test_what_builds_wheels_knows_what_they_must_not_hold(self) -> None:
        """The two places that name torch's libraries say the same of those a CPU wheel links."""
        from dev.release.binaries import TORCHS

        command = re.search(r"^repair-wheel-command = .*$", (REPOSITORY / "pyproject.toml").read_text(), re.M)
        assert command is not None
        assert set(re.findall(r"--exclude (\S+)", command[0])) <= set(TORCHS)
        assert "release" in declared()["optional-dependencies"]
