"""The gate on the oldest torch: what it compiles, what it calls missing, and what it does offline."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from dev import REPOSITORY, floor_headers

NM = """\
                 U aoti_torch_get_dim
                 U aoti_torch_only_in_the_newest
                 U cudaLaunchKernel@libcudart.so.13
                 U _ZNK3c1010TensorImpl4sizeEv
                 U _ZNSt7__cxx1119basic_ostringstreamIcSt11char_traitsIcESaIcEEC1Ev
                 U torch_call_dispatcher
"""


def finished(returncode: int, stdout: str = "", stderr: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], returncode, stdout, stderr)


class TestHeaders:
    def test_they_are_fetched_once_and_nothing_else_is_kept(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(floor_headers, "BUILD", tmp_path)
        commands = []

        def download(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
            commands.append(command)
            wheel = Path(command[command.index("--dest") + 1]) / "torch-2.10.0-cp312-cp312-any.whl"
            with zipfile.ZipFile(wheel, "w") as archive:
                archive.writestr("torch/include/torch/version.h", "// here")
                archive.writestr("torch/lib/libtorch_cpu.so", "large")
            return finished(0)

        monkeypatch.setattr(subprocess, "run", download)
        include = floor_headers.headers_of("torch==2.10")
        assert (include / "torch" / "version.h").read_text() == "// here"
        assert floor_headers.headers_of("torch==2.10") == include
        assert len(commands) == 1
        assert commands[0][-1] == "torch==2.10"
        assert [path.name for path in tmp_path.iterdir()] == ["torch-2.10"]
        assert list(tmp_path.rglob("*.so")) == []

    def test_without_a_network_the_gate_is_skipped_in_a_line(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(floor_headers, "BUILD", tmp_path)
        refused = finished(
            1, "", "WARNING: Retrying\nERROR: No matching distribution found for torch==2.10\n"
        )
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: refused)
        assert floor_headers.main() == 0
        assert capsys.readouterr().out == (
            "headers of torch==2.10: SKIPPED, the wheel of torch==2.10 could not be fetched: "
            "ERROR: No matching distribution found for torch==2.10\n"
        )


class TestFunctions:
    def test_what_the_oldest_torch_lacks_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: finished(0, NM))
        known = {"aoti_torch_get_dim", "torch_call_dispatcher"}
        assert floor_headers.judge_module(Path("_C.abi3.so"), known) == (
            "the oldest torch does not have aoti_torch_only_in_the_newest, _ZNK3c1010TensorImpl4sizeEv"
        )

    def test_they_are_read_from_the_shims(self, tmp_path: Path) -> None:
        shim = tmp_path / floor_headers.SHIMS[0] / "shim.h"
        shim.parent.mkdir(parents=True)
        shim.write_text("AOTI_TORCH_EXPORT AOTITorchError torch_list_size(StableListHandle list_handle);")
        assert floor_headers.declared_functions(tmp_path) == {"torch_list_size"}

    @pytest.mark.skipif(shutil.which("nm") is None, reason="nm is not installed")
    def test_a_built_module_wants_c_functions_alone(self) -> None:
        for module in (REPOSITORY / "anatpaste_gpu").glob("*.so"):
            wanted, unstable = floor_headers.wanted_functions(module)
            assert "torch_call_dispatcher" in wanted
            assert unstable == set()


class TestUnits:
    def test_nothing_is_left_out(self) -> None:
        csrc = REPOSITORY / "csrc"
        sources = floor_headers.host_unit() + floor_headers.launchers_unit() + floor_headers.gpu_unit()
        for path in (
            *csrc.glob("cpu/*.cpp"),
            *csrc.glob("cuda/*.cu"),
            *csrc.glob("cuda/*.h"),
            csrc / "ops.cpp",
        ):
            assert f'#include "{path.relative_to(csrc)}"\n' in sources

    @pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
    def test_a_unit_that_does_not_compile_says_why(self, tmp_path: Path) -> None:
        command = ["g++", "-fsyntax-only"]
        assert floor_headers.compiled("fine.cpp", "int here;\n", command, tmp_path) is None
        said = floor_headers.compiled(
            "wrong.cpp", "STABLE_TORCH_ERROR_CODE_CHECK(here);\n", command, tmp_path
        )
        assert said is not None
        assert "STABLE_TORCH_ERROR_CODE_CHECK" in said


def test_it_is_a_module() -> None:
    done = subprocess.run([sys.executable, "-c", "import dev.floor_headers"], cwd=REPOSITORY, check=False)
    assert done.returncode == 0
