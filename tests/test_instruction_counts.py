"""The gate on instructions judges rightly, and finds entries and counts where the tools put them."""

from __future__ import annotations

import pytest
import tomllib
import torch

from dev import instruction_counts as gate
from dev import instruction_workload as workload
from dev.operator_calls import operator_of

LISTING = """\
0000000000001000 t torch::stable::detail::boxer<Tensor (Tensor const&), &anatpaste::cpu::clahe>::boxed_fn(unsigned long*, unsigned long)
0000000000002000 t torch::stable::detail::boxer<Tensor (Tensor const&), &anatpaste::cpu::clahe>::boxed_fn(unsigned long*, unsigned long) [clone .cold]
0000000000003000 t torch::stable::detail::boxer<Tensor (Tensor const&), &anatpaste::cpu::(anonymous namespace)::draw>::boxed_fn(long)
0000000000004000 t anatpaste::cpu::clahe(torch::stable::Tensor const&)
"""  # noqa: E501 (nm's own lines)


def test_entry_points_are_those_that_torch_calls() -> None:
    found = gate.entry_points(LISTING, {"clahe", "draw"})
    assert set(found) == {"clahe", "draw"}
    assert found["clahe"].endswith("&anatpaste::cpu::clahe>::boxed_fn(unsigned long*, unsigned long)")
    assert gate.entry_points(LISTING, {"draw"}).keys() == {"draw"}


@pytest.mark.parametrize(
    ("comment", "name"),
    [
        ("  [     0]  GCC: (Debian 12.2.0-14+deb12u1) 12.2.0", "GCC 12"),
        ("  [     0]  Debian clang version 19.1.7", "clang 19"),
        ("", "unknown"),
    ],
)
def test_compiler_is_read_from_the_module(comment: str, name: str) -> None:
    assert gate.major_version(comment) == name


def test_total_is_that_of_callgrind() -> None:
    assert gate.total_of("version: 1\nsummary: 42\n\ntotals: 42\n") == 42
    with pytest.raises(ValueError, match="no line of totals"):
        gate.total_of("version: 1\n")


def test_more_than_the_tolerance_is_wrong() -> None:
    pins = {"clahe": 1000, "gone": 1}
    assert gate.judge({"clahe": 1030, "gone": 1}, pins, 0.03) == []
    assert gate.judge({"clahe": 500, "gone": 1}, pins, 0.03) == []
    assert gate.judge({"clahe": 1031, "new": 1}, pins, 0.03) == [
        "clahe: 1,031 instructions, 3.1% above 1,000",
        "gone: pinned but not counted",
        "new: counted but not pinned",
    ]


def test_pins_are_read_as_they_are_written() -> None:
    pins = {"clahe": 3, "label_components: noise": 4}
    read = tomllib.loads(gate.as_toml("x86-64-v3", "GCC 12", 0.03, pins))
    assert read == {"level": "x86-64-v3", "compiler": "GCC 12", "tolerance": 0.03, "counts": pins}


def test_pins_cover_the_workload() -> None:
    """Every call is pinned, none is pinned that is not made, and the calls run."""
    table = workload.calls(torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8))
    assert list(tomllib.loads(gate.PINS.read_text())["counts"]) == list(table)
    for name, arguments in table.items():
        getattr(torch.ops.anatpaste, operator_of(name))(*arguments)
