"""The device of a run and the type it computes in."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from anatpaste_gpu.devices import compute_dtype, cpu_name, device_name, select_device

CPU = torch.device("cpu")


def test_the_cpu_is_chosen_when_asked_for_and_named() -> None:
    device, sentence = select_device(-1)
    assert device == CPU
    assert sentence == f"Running on the CPU ({cpu_name()}), as asked by --gpu -1."
    assert device_name(device) == cpu_name()


def test_an_index_below_minus_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"gpu must be the index of a GPU, or -1 for the CPU, got -2\."):
        select_device(-2)


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx512_f": True, "avx512_bf16": False}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_auto_follows_the_instructions_of_the_cpu(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, Any], expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert compute_dtype("auto", CPU) is expected
    assert compute_dtype("float32", CPU) is torch.float32
    assert compute_dtype("bfloat16", CPU) is torch.bfloat16


def test_auto_is_float32_where_torch_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert compute_dtype("auto", CPU) is torch.float32
