"""Training in float16, whose gradients may overflow: on the CPU, which takes its time over it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from anatpaste_gpu.data import DatasetSplits
from anatpaste_gpu.distributed import Engine
from anatpaste_gpu.methods import Learner
from anatpaste_gpu.training.input import ResidentImages, TrainingStream
from anatpaste_gpu.training.step import StepClock, TrainingStep

from .training_runs import phantoms, tiny

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def uninitialised_memory_is_seen() -> Iterator[None]:
    """torch's deterministic algorithms fill it with NaN."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


@pytest.fixture(scope="module")
def splits() -> DatasetSplits:
    return phantoms()


def weights_of(learner: Learner) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in learner.parameters()])


def trained(splits: DatasetSplits, engine: Engine, steps: int) -> tuple[list[float], torch.Tensor]:
    """Losses of the steps, and what they changed of all weights."""
    config = tiny(Path("unused"), backbone="resnet18")
    learner = config.method.learner(config.recipe).prepare(engine)
    before = weights_of(learner)
    step = TrainingStep(learner, learner.optimizers(), StepClock(CPU))
    source = ResidentImages(splits.train.images, TrainingStream(len(splits.train), 4, 0), CPU)
    losses = [float(step(source.batch(n), n, 1.0)["loss"]) for n in range(steps)]
    return losses, weights_of(learner) - before


def test_the_first_step_counts_and_is_float32s(splits: DatasetSplits) -> None:
    """The steps after it magnify whatever the first one rounds."""
    (found, changed), (expected, wanted) = (
        trained(splits, Engine(dtype=dtype), 1) for dtype in (torch.float16, torch.float32)
    )
    # From equal weights on: eleven bits of mantissa, through twenty layers.
    assert found[0] == pytest.approx(expected[0], rel=0.01)
    # bfloat16's change, with its eight bits, is at 0.7.
    assert functional.cosine_similarity(changed, wanted, dim=0) > 0.9


def test_the_first_steps_may_overflow(splits: DatasetSplits) -> None:
    """With torch's own scale three are lost, and the fifth one's loss was no number."""
    engine = Engine(dtype=torch.float16)
    engine.scaler = torch.amp.GradScaler("cpu")
    found, _ = trained(splits, engine, 5)
    assert engine.scaler.get_scale() < 65536, "a step was lost"
    assert all(math.isfinite(loss) for loss in found), found


def sgd(weight: nn.Parameter, *, fused: bool, momentum: float = 0.9) -> torch.optim.SGD:
    return torch.optim.SGD([weight], lr=0.5, momentum=momentum, weight_decay=0.1, fused=fused)


@pytest.mark.parametrize("each", [False, True])
def test_a_step_that_overflows_changes_nothing(each: bool) -> None:
    """Those after it are those of an optimiser that never saw it, to the bit."""
    engine = Engine(dtype=torch.float16)
    weight, other = (nn.Parameter(torch.tensor([1.0, -2.0])) for _ in range(2))
    fused, plain = sgd(weight, fused=True), sgd(other, fused=False)
    for factor in (math.inf, 1.0, 2.0):
        loss = (weight * weight * factor).sum()
        if each:
            engine.update_each((loss, fused))
        else:
            engine.update(loss, fused)
        if math.isinf(factor):
            assert weight.tolist() == [1.0, -2.0]
            continue
        plain.zero_grad()
        (other * other * factor).sum().backward()
        plain.step()
        assert torch.equal(weight, other)


def test_momentum_is_started_for_a_fused_sgd_alone() -> None:
    """And in no other type than float16, whose steps stay those of before."""
    for engine, optimizer in (
        (Engine(dtype=torch.float16), sgd(nn.Parameter(torch.ones(2)), fused=True, momentum=0.0)),
        (Engine(dtype=torch.float16), torch.optim.Adam([nn.Parameter(torch.ones(2))], fused=True)),
    ):
        (weight,) = optimizer.param_groups[0]["params"]
        engine.update((weight * math.inf).sum(), optimizer)
        assert optimizer.state[weight].get("momentum_buffer") is None
        assert weight.tolist() == [1.0, 1.0]
