"""What `make floors` installs and tries; the installing itself needs an index and minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from dev import cuda_toolkit
from dev import floors as floors_module
from dev.floor_smoke import PARTS
from dev.floors import CORE, EXTRAS, cuda_runtime, declared, floors, with_layers

#: Extras for developers and for the benchmarks, or made of the others.
NOT_TRIED = {"all", "test", "dev", "docs", "release", "peers", "peers-cuda12"}


def test_every_extra_of_users_is_tried() -> None:
    assert set(EXTRAS) == set(declared()["optional-dependencies"]) - NOT_TRIED
    assert set(PARTS) == {CORE, *EXTRAS}


@pytest.mark.parametrize("extra", [CORE, *EXTRAS])
def test_every_requirement_has_a_floor(extra: str) -> None:
    pins = floors(declared(), extra)
    assert pins
    assert all(pin.count("==") == 1 for pin in pins)


def test_floors_are_the_lowest_versions() -> None:
    project = {
        "name": "ours",
        "dependencies": ["torch>=2.10", "numpy>=1.26,<3"],
        "optional-dependencies": {"more": ["ours[less]", "parser[signatures]>=4.49"]},
    }
    assert floors(project, CORE) == ["torch==2.10", "numpy==1.26"]
    assert floors(project, "more") == ["parser[signatures]==4.49"]


def test_an_extra_alone_comes_after_the_layers_that_it_is_made_of() -> None:
    project = declared()
    assert with_layers(project, ["serve"]) == ["data", "train", "serve"]
    assert with_layers(project, ["pretrained", "wandb"]) == ["timm", "pretrained", "data", "train", "wandb"]
    assert set(with_layers(project, EXTRAS)) == set(EXTRAS)


def test_a_requirement_without_a_floor() -> None:
    with pytest.raises(ValueError, match=r"^torch<3 must have one lowest version \(>=\)\.$"):
        floors({"name": "ours", "dependencies": ["torch<3"]}, CORE)


def test_cuda_kernels_that_were_built_get_their_own_runtime(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(floors_module, "REPOSITORY", tmp_path)
    monkeypatch.setattr(cuda_toolkit, "torch_cuda_major", lambda: "13")
    assert cuda_runtime() == []
    (tmp_path / "anatpaste_gpu").mkdir()
    (tmp_path / "anatpaste_gpu" / "_CUDA.abi3.so").touch()
    assert cuda_runtime() == ["nvidia-cuda-runtime==13.*"]
    monkeypatch.setattr(cuda_toolkit, "torch_cuda_major", lambda: None)
    assert cuda_runtime() == []
