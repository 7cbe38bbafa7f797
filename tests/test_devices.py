"""The device of a run and the type it computes in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import anatpaste_gpu
from anatpaste_gpu.devices import compute_dtype, cpu_name, device_name, select_device, sent

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


class TestSent:
    def test_what_goes_to_a_gpu_is_pinned_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing is copied from pageable memory, which the host would wait for."""
        pinned: list[torch.Tensor] = []
        moved: list[tuple[torch.Tensor, torch.device, bool]] = []

        def pin_memory(tensor: torch.Tensor) -> torch.Tensor:
            pinned.append(tensor)
            return tensor.clone()

        def to(tensor: torch.Tensor, device: torch.device, non_blocking: bool = False) -> torch.Tensor:
            moved.append((tensor, device, non_blocking))
            return tensor

        monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
        monkeypatch.setattr(torch.Tensor, "to", to)
        tensor, gpu = torch.arange(3), torch.device("cuda", 1)
        result = sent(tensor, gpu)
        assert pinned[0] is tensor
        assert result is not tensor
        assert [(part is result, device, flag) for part, device, flag in moved] == [(True, gpu, True)]

    def test_what_stays_is_left_as_it_is(self) -> None:
        tensor = torch.arange(3)
        assert sent(tensor, CPU) is tensor
        elsewhere = torch.empty(3, device="meta")
        assert sent(elsewhere, torch.device("meta")) is elsewhere


def test_nothing_but_sent_copies_without_waiting() -> None:
    """So that no copy from pageable memory, for which the host waits, is called one that does not wait."""
    package = Path(anatpaste_gpu.__file__).parent
    found = [
        f"{path.relative_to(package)}: {line.strip()}"
        for path in sorted(package.rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if "non_blocking=True" in line
    ]
    # The second copies from the device into pinned memory, the third from one of its tensors to another.
    assert found == [
        "devices.py: return tensor.to(device, non_blocking=True)",
        "training/background.py: return held.copy_(tensor, non_blocking=True)",
        "training/step.py: held.copy_(new, non_blocking=True)",
    ]
