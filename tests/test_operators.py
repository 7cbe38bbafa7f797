"""Every registered operator is in every place that needs to know it; what is missing is named."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import tomllib
import torch

from anatpaste_gpu import ops
from bench.gpu import parity, timings
from bench.gpu.images import Radiographs
from bench.roofline import __main__ as roofline
from bench.roofline import compiled, counting, evaluate
from dev import (
    backends,
    instruction_counts,
    instruction_workload,
    kernel_gates,
    operator_calls,
    operators,
    simt,
)

IMAGES = torch.randint(0, 256, (2, 1, 64, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
CALLS = operator_calls.on_images(IMAGES) | operator_calls.drawing(2, 64, 80)
ON_IMAGES = [name for name in operators.registered() if name not in operators.draws()]


def names(calls: dict[str, Any]) -> set[str]:
    return {operator_calls.operator_of(call) for call in calls}


def test_every_operator_has_an_example_call() -> None:
    assert set(operators.registered()) - names(CALLS) == set(), "not in dev/operator_calls.py"
    assert names(CALLS) - set(operators.registered()) == set(), "in dev/operator_calls.py, but not registered"
    assert set(operators.draws()) == names(operator_calls.drawing(2, 64, 80))


def variants() -> dict[str, tuple[Any, ...]]:
    """Every example call, the same on floats, and what else the operators that draw can be asked for."""
    calls = CALLS | {f"{call}, float32": a for call, a in operator_calls.on_images(IMAGES / 255).items()}
    for call, arguments in operator_calls.on_images(IMAGES[:, :, :32, :40].contiguous()).items():
        name = operator_calls.operator_of(call)
        if "params_int" not in kinds_of(name):
            continue
        at = list(kinds_of(name)).index("params_int")
        drawn = getattr(torch.ops.anatpaste, name)(*arguments)[1:3]
        colour = arguments[0].expand(-1, 3, -1, -1).contiguous()
        calls[f"{call}, colour and the extra output"] = (colour, *arguments[1:-1], True)
        calls[f"{call}, replayed"] = (*arguments[:at], *drawn, *arguments[at + 2 :])
    return calls


def kinds_of(name: str) -> dict[str, str]:
    """The operator's arguments, and their types, in order."""
    arguments = getattr(torch.ops.anatpaste, name).default._schema.arguments
    return {argument.name: str(argument.type) for argument in arguments}


VARIANTS = variants()


@pytest.mark.parametrize("call", VARIANTS)
def test_opcheck(call: str) -> None:
    """Schema, fake kernel and autograd registration agree with what the operator does."""
    operator = getattr(torch.ops.anatpaste, operator_calls.operator_of(call).split(",")[0]).default
    torch.library.opcheck(operator, VARIANTS[call])


@pytest.mark.parametrize("name", ON_IMAGES)
def test_an_operator_is_in_every_place(name: str) -> None:
    assert name in ops.__all__, "anatpaste_gpu/ops/__init__.py"
    assert callable(getattr(ops, name))
    assert callable(getattr(importlib.import_module(f"anatpaste_gpu.torch_backend.{name}"), name))
    assert name in operators.with_cuda_kernel(), "csrc/cuda"
    assert name in names(instruction_workload.calls(IMAGES[..., :64])), "dev/instruction_workload.py"
    pinned = tomllib.loads(instruction_counts.PINS.read_text())["counts"]
    assert name in names(pinned), "dev/instruction_counts.toml"
    modelled = set(evaluate.MINIMUM) | set(evaluate.NOT_MODELLED)
    assert name in modelled, "MINIMUM or NOT_MODELLED of bench/roofline/evaluate.py"


def test_nothing_is_listed_that_is_no_operator() -> None:
    known = set(ON_IMAGES)
    assert set(ops.__all__) == known
    assert set(evaluate.MINIMUM) | set(evaluate.NOT_MODELLED) == known
    assert set(evaluate.MINIMUM) & set(evaluate.NOT_MODELLED) == set()


def test_what_the_roofline_models_is_timed_on_a_gpu() -> None:
    assert set(evaluate.MINIMUM) - set(timings.timed_calls(torch.arange(1), IMAGES)) == set()


def test_kernels_of_the_roofline_have_budgets() -> None:
    stems = {expression.split("<")[0] for expression in compiled.KERNELS.values()}
    assert stems - set(kernel_gates.read_budgets()) == set()


def test_a_kernel_that_the_roofline_does_not_know_is_named() -> None:
    counted = {"new_op": [[{"name": "new_launch"}]]}
    with pytest.raises(SystemExit, match=r"not in KERNELS of bench/roofline/compiled.py: new_launch"):
        roofline.check_known(counted, compiled.KERNELS)


@pytest.mark.slow
@pytest.mark.skipif(not simt.available(), reason="the SIMT executor needs Linux with g++")
def test_the_roofline_counts_what_it_models_and_knows_its_kernels() -> None:
    batch = counting.Batch(1, 64, 1)
    counted_ops = counting.ops(batch)
    assert set(counted_ops) == set(evaluate.MINIMUM)
    image = IMAGES[:1, :, :, :64].contiguous()
    mask = torch.ones_like(image, dtype=torch.bool)
    for shared in (101_376, 24 * 1024):  # the path of one launch, and that of many
        with (
            simt.device(max_shared_bytes=shared, multiprocessors=8, variant="count"),
            simt.counted() as counts,
        ):
            for run in counted_ops.values():
                run(image, mask, 0)
        roofline.check_known({"all": [counts.launches]}, compiled.KERNELS)


# --- parity on a GPU, with the executor in the GPU's place ---


def instead_of_cuda(backend: str, name: str) -> Callable[..., Any]:
    return backends.get_op(backends.SIMT if backend == backends.CUDA else backend, name)


@pytest.mark.skipif(not simt.available(), reason="the SIMT executor needs Linux with g++")
@pytest.mark.parametrize("dtype", parity.DTYPES, ids=str)
def test_parity_covers_every_operator(dtype: torch.dtype) -> None:
    found = parity.compare_operators(parity.as_dtype(IMAGES, dtype), instead_of_cuda)
    assert names(found) == set(ON_IMAGES)
    assert [name for name, equal in found.items() if not equal] == []


def test_parity_takes_every_type_in_grey_in_colour_and_misplaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the CPU in the GPU's place."""
    monkeypatch.setattr(torch.Tensor, "cuda", torch.Tensor.clone)
    monkeypatch.setattr(parity, "COMPARED", ())
    monkeypatch.setattr(Radiographs, "batch", lambda *_: IMAGES[:, :, :64, :64].contiguous())
    found = [parity.compare(*batch) for batch in parity.batches(Radiographs())]
    assert all(row["passed"] for row in found)
    channels = {(row["dtype"], row["shape"][1]) for row in found}
    types = {str(dtype).removeprefix("torch.") for dtype in parity.DTYPES}
    assert channels == {(dtype, count) for dtype in types for count in (1, 3)}
    assert {row["dtype"] for row in found if not row["aligned"]} == types


def test_parity_notices_a_wrong_pixel_whatever_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "cuda", torch.Tensor.clone)
    found = parity.compare(IMAGES, lambda images: parity.offset(images.clamp(max=100)))
    assert not found["passed"]


def test_parity_notices_a_wrong_result() -> None:
    def wrong(backend: str, name: str) -> Callable[..., Any]:
        right = backends.get_op(backends.NATIVE, name)
        if backend == backends.NATIVE or name != "binary_dilation":
            return right
        return lambda mask: ~right(mask)

    found = parity.compare_operators(IMAGES, wrong)
    assert [name for name, equal in found.items() if not equal] == ["binary_dilation"]
