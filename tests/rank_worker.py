"""What each of two ranks does in test_distributed.py; one start of the processes serves all of its tests."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional

from anatpaste_gpu import KernelDensity
from anatpaste_gpu.data import DatasetSplits, load_dataset
from anatpaste_gpu.distributed import Agreement, Ranks, joined, with_joint_statistics
from anatpaste_gpu.distributed.engine import Engine
from anatpaste_gpu.distributed.parallel import in_parallel
from anatpaste_gpu.methods.pretext import AnatPasteNet, PretextLearner
from anatpaste_gpu.methods.pretext.embedding import embed
from anatpaste_gpu.runs.folder import RunFolder
from anatpaste_gpu.training import TrainConfig
from anatpaste_gpu.training.display import Display
from anatpaste_gpu.training.step import MetricBuffer, StepClock
from anatpaste_gpu.training.trainer import Trainer, build_engine

CPU = torch.device("cpu")
ALONE = Ranks()
CONFIG = TrainConfig.of(
    dataset="demo",
    gpu=-1,
    threads=1,
    image_size=32,
    batch_size=4,
    epochs=2,
    steps_per_epoch=2,
    validate_every=1,
    backbone="shufflenet_v2_x0_5",
    precision="float32",
    bootstrap_samples=100,
    gallery_rows=1,
)


def rank_main(rank: int, world: int, folder: str) -> None:
    """Entry point of a rank: everything it computes goes into one file."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    with joined(CPU) as ranks:
        torch.save(everything(ranks, Path(folder)), f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()


def everything(ranks: Ranks, folder: Path) -> dict[str, Any]:
    """All results by name, of a rank or of one process."""
    results = {
        "norm2d": joint_norm(ranks, nn.BatchNorm2d(5), points(12, 5, 6, 7)),
        "norm1d": joint_norm(ranks, nn.BatchNorm1d(5, momentum=None), points(12, 5)),
        "bfloat16": joint_norm(ranks, nn.BatchNorm2d(5), points(12, 5, 6, 7), torch.bfloat16),
        "density": density(ranks, torch.float64),
        "density32": density(ranks, torch.float32),
        "small": losses(ranks, small_network(), 20, 0.03, torch.float32),
        "whole": losses(ranks, AnatPasteNet("resnet18"), 3, 0.03, torch.float64),
        "embeddings": embeddings(ranks),
    }
    for precision in ("float32", "bfloat16"):
        results[f"parts_{precision}"] = in_parts(ranks, folder / f"parts{ranks.world}", precision)
    results |= trainer_results(ranks, folder / ("one" if ranks.world == 1 else "two"))
    if ranks.shares:
        results |= {"agreed": agreed(ranks), "from_leader": from_leader(ranks)}
    return results


def points(*shape: int, seed: int = 0) -> Tensor:
    """float64, far from zero in some channels, as activations are."""
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values * 2 + 3 * torch.arange(shape[1]).view(1, -1, *[1] * (len(shape) - 2))


def part(values: Tensor, ranks: Ranks) -> Tensor:
    """This rank's equal share of the rows."""
    size = len(values) // ranks.world
    return values[ranks.rank * size : (ranks.rank + 1) * size].clone()


def joint_norm(
    ranks: Ranks, norm: nn.Module, values: Tensor, dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    """Two training passes, gradients of the second, then running statistics and an evaluation pass."""
    network = nn.Sequential(norm).to(torch.float32 if dtype == torch.bfloat16 else dtype)
    with torch.no_grad():
        network[0].weight.copy_(torch.linspace(0.5, 2, 5))
        network[0].bias.copy_(torch.linspace(-1, 1, 5))
    if ranks.shares:
        with_joint_statistics(network)
    network(part(values * 0.5, ranks).to(dtype))
    input = part(values, ranks).to(dtype).requires_grad_()
    output = network(input)
    (output * part(points(*values.shape, seed=1), ranks).to(dtype)).sum().backward()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    network.eval()
    return {
        "output": output.detach(),
        "input_gradient": input.grad,
        "weight_gradient": network[0].weight.grad,
        "bias_gradient": network[0].bias.grad,
        "evaluated": network(input).detach(),
        **state,
    }


def density(ranks: Ranks, dtype: torch.dtype) -> Tensor:
    """The log densities of 30 points, whose blocks of 8 two ranks cannot share equally, among 150."""
    training = functional.normalize(torch.randn(150, 16, generator=torch.Generator().manual_seed(3))).to(
        dtype
    )
    queries = training[:30] * 1.5
    scorer = KernelDensity(0.3).fit(training)
    return Engine(ranks=ranks).rows(scorer.score_samples, queries, 8)


def small_network() -> nn.Module:
    """Both kinds of batch normalisation, and no layer that makes much of a rounding."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Flatten(),
        nn.LazyLinear(16, bias=False),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Linear(16, 2),
    )


def losses(ranks: Ranks, network: nn.Module, steps: int, rate: float, dtype: torch.dtype) -> Tensor:
    """The losses of the first steps of training on images against shifted copies, shared as twins are."""
    generator = torch.Generator().manual_seed(5)
    images = torch.rand(steps, 8, 1, 24, 24, generator=generator)
    twins = (images * 0.8 + 0.2 * images.roll(3, -1)).clamp(0, 1)
    with torch.no_grad():
        network(images[0])
    torch.manual_seed(0)
    for module in network.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    network = network.to(dtype)
    shared = in_parallel(network, ranks, CPU)
    optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9, weight_decay=3e-5)
    found = []
    for step in range(steps):
        batch = torch.cat([part(images[step], ranks), part(twins[step], ranks)])
        labels = torch.arange(2).repeat_interleave(len(batch) // 2)
        shared.train()
        optimizer.zero_grad()
        with _inputs_of(dtype):
            loss = functional.cross_entropy(shared(batch.to(dtype)), labels)
        loss.backward()
        optimizer.step()
        found.append(float(ranks.sum(loss.detach().double())) / ranks.world)
    return torch.tensor(found, dtype=torch.float64)


class _inputs_of:
    """Lets the network's input keep a dtype that `to_input` would take as float32."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype

    def __enter__(self) -> None:
        import anatpaste_gpu.methods.pretext.network as model

        self._original = model.to_input
        model.to_input = lambda images, **options: self._original(images, **options).to(self._dtype)

    def __exit__(self, *_: object) -> None:
        import anatpaste_gpu.methods.pretext.network as model

        model.to_input = self._original


def splits() -> DatasetSplits:
    """Phantoms: more than two blocks of training images, so that both ranks have some."""
    sizes = {"train_size": 140, "validation_size": 5, "test_size": 5}
    return load_dataset("demo", image_size=32, seed=0, progress=False, **sizes)


def embeddings(ranks: Ranks) -> Tensor:
    """Of 140 images by an untrained network."""
    torch.manual_seed(1)
    network = AnatPasteNet("shufflenet_v2_x0_5")
    images = torch.randint(0, 256, (140, 1, 32, 32), dtype=torch.uint8)
    engine = Engine(ranks=ranks)
    return engine.rows(lambda own: embed(network, own, CPU), images, 64)


def trainer_of(config: TrainConfig, ranks: Ranks, path: Path) -> Trainer:
    """The trainer of a new run, before its first step."""
    data, folder, clock = splits(), RunFolder(path), StepClock(CPU)
    if ranks.leads:
        folder.begin(config, data.manifest)
    engine = build_engine(config, CPU, ranks, clock)
    learner = config.method.learner(config.recipe).prepare(engine)
    schedule = config.recipe.schedule
    display = Display(
        Console(file=io.StringIO()), folder.tensorboard, config.total_steps, schedule.steps_per_epoch
    )
    return Trainer(config, learner, data, folder, display, clock)


def trainer_results(ranks: Ranks, path: Path) -> dict[str, Any]:
    """Batches of two steps, and the detectors that validations of one fixed network keep."""
    trainer = trainer_of(CONFIG, ranks, path)
    learner = trainer.learner
    assert isinstance(learner, PretextLearner)
    batches = []
    for step in (0, 37):  # the second straddles two passes over the training set
        raw = trainer.source.batch(step)
        batches.append((raw.index, learner.twins(raw.images, raw.index)))
    area = trainer.validator(trainer.progress, epochs_done=1)
    density = learner.scorer
    for scorer in ("mahalanobis", "knn"):
        learner.scorer = CONFIG.replace(scorer=scorer).recipe.scoring.build()
        trainer.progress.best_auc = 1.0  # the density's file is what is compared
        trainer.validator(trainer.progress, epochs_done=2)
    learner.scorer = density
    return {"batches": batches, "auc": area, "areas": [v["auc"] for v in trainer.progress.validations]}


def in_parts(ranks: Ranks, path: Path, precision: str) -> tuple[list[float], dict[str, Tensor]]:
    """Losses of ResNet18's first 20 steps in four parts, at the paper's learning rate; weights after them."""
    config = CONFIG.replace(
        backbone="resnet18",
        batch_size=8,
        batch_parts=4,
        steps_per_epoch=20,
        log_every=20,
        precision=precision,
    )
    trainer = trainer_of(config, ranks, path / precision)
    trainer.metrics = MetricBuffer(21, CPU)  # looked at once, here
    for step in range(20):
        trainer.metrics.note(trainer.training_step(trainer.source.batch(step), step, 1.0))
        trainer.progress.step += 1
    trainer.collect()
    return [figures["loss"] for figures in trainer.window], dict(trainer.learner.state_dict())


def agreed(ranks: Ranks) -> list[tuple[int, bool]]:
    """Rank 1 receives a signal at step 2; rank 0 is due to save at step 1. Rank 1 is at step 0, in vain."""
    agreement, heard = Agreement(ranks), []
    for step in range(6):
        signal_number = 15 if ranks.rank == 1 and step >= 2 else 0
        heard.append(agreement(signal_number, due=step == 1 - ranks.rank))
        if heard[-1][0]:
            break
    agreement.close()
    return heard


def from_leader(ranks: Ranks) -> tuple[Any, str]:
    """What a call on rank 0 returns, and how its error arrives."""
    value = ranks.from_leader(lambda: {"rank": dist.get_rank()})

    def fail() -> None:
        raise ValueError("the leader cannot.")

    try:
        ranks.from_leader(fail)
    except ValueError as error:
        return value, str(error)
    return value, ""
