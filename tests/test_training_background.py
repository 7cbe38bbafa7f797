"""States are written by a thread: as they were when they were handed over, one at a time, errors told."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from anatpaste_gpu.training.background import HostCopies, StateWriter, Write

CPU = torch.device("cpu")


def state(value: float) -> dict[str, Any]:
    network = torch.nn.BatchNorm2d(2)
    with torch.no_grad():
        network.weight.fill_(value)
    return {
        "network": network.state_dict(),
        "groups": [{"lr": value, "betas": (value, 0.5)}],
        "step": [value],
    }


class TestCopies:
    def test_what_changes_later_is_not_in_it(self) -> None:
        original = state(1.0)
        copied = HostCopies(CPU).of(original)
        original["network"]["weight"].fill_(2)
        original["groups"][0]["lr"] = 2.0
        original["step"].append(2.0)
        expected = state(1.0)
        assert torch.equal(copied["network"].pop("weight"), expected["network"].pop("weight"))
        assert (copied["groups"], copied["step"]) == (expected["groups"], expected["step"])

    def test_a_state_dicts_versions_come_with_it(self) -> None:
        copied = HostCopies(CPU).of(state(1.0))["network"]
        assert copied._metadata == torch.nn.BatchNorm2d(2).state_dict()._metadata

    def test_the_order_of_memory_is_kept(self) -> None:
        weight = torch.rand(4, 3, 2, 2).to(memory_format=torch.channels_last)
        copied = HostCopies(CPU).of({"weight": weight})["weight"]
        assert torch.equal(copied, weight)
        assert copied.stride() == weight.stride()

    def test_all_copies_are_in_one_memory(self) -> None:
        copies = HostCopies(CPU)
        first = copies.of({"a": torch.ones(3), "b": torch.ones(2)})
        second = copies.of({"a": torch.zeros(3), "b": torch.zeros(4)})
        assert first["a"] is second["a"]
        assert second["a"].tolist() == [0, 0, 0]
        assert second["b"].tolist() == [0, 0, 0, 0], "where it fits"

    def test_parameters_and_gradients_are_left_behind(self) -> None:
        parameter = torch.nn.Parameter(torch.ones(2))
        copied = HostCopies(CPU).of({"parameter": parameter})["parameter"]
        assert type(copied) is torch.Tensor
        assert not copied.requires_grad


class TestWriter:
    def test_the_caller_goes_on_meanwhile_and_states_come_in_order(self) -> None:
        allowed, written = threading.Event(), []

        def write(given: Mapping[str, Any]) -> None:
            assert allowed.wait(60)
            assert threading.current_thread() is not threading.main_thread()
            written.append(given["tensor"].item())

        tensor = torch.ones(())
        with StateWriter(CPU) as writer:
            writer.save({"tensor": tensor}, write)
            tensor.fill_(2)
            writer.check()
            assert written == []
            allowed.set()
            writer.save({"tensor": tensor}, write)
            assert written == [1], "the next waits for it"
            writer.wait()
            assert written == [1, 2]
            writer.save({"tensor": torch.tensor(3)}, write)
        assert written == [1, 2, 3]

    @pytest.mark.parametrize("next_call", ["check", "wait", "save", "end"])
    def test_an_error_is_raised_by_the_next_call(self, next_call: str) -> None:
        done = threading.Event()

        def fail(given: Mapping[str, Any]) -> None:
            done.set()
            raise OSError("no room")

        def ask(writer: StateWriter) -> None:
            if next_call == "save":
                writer.save({}, lambda given: None)
            elif next_call == "wait":
                writer.wait()
            elif next_call == "check":
                while True:
                    writer.check()

        def use() -> None:
            with StateWriter(CPU) as writer:
                writer.save({}, fail)
                assert done.wait(60)
                ask(writer)

        with pytest.raises(OSError, match="no room"):
            use()

    def test_an_error_of_the_block_goes_first_and_the_state_is_written(self) -> None:
        written = []

        def fail(given: Mapping[str, Any]) -> None:
            written.append(given["step"])
            raise OSError("no room")

        def use(write: Write) -> None:
            with StateWriter(CPU) as writer:
                writer.save({"step": 1}, write)
                raise KeyError("block")

        for write in (lambda given: written.append(given["step"]), fail):
            with pytest.raises(KeyError, match="block"):
                use(write)
        assert written == [1, 1]
