"""The step and what surrounds it: metrics, CUDA graph, compile, determinism, memory."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from anatpaste_gpu import KernelDensity
from anatpaste_gpu.data import DatasetSplits
from anatpaste_gpu.devices import compute_dtype
from anatpaste_gpu.distributed import Engine, Ranks
from anatpaste_gpu.methods import Batch, Learner, Recipe, get_method
from anatpaste_gpu.methods.pretext import AnatPasteNet
from anatpaste_gpu.methods.pretext.embedding import elements_within, embed, embedding_batch
from anatpaste_gpu.methods.protocol import CUDA_GRAPH
from anatpaste_gpu.training import TrainConfig
from anatpaste_gpu.training.capture import why_not_captured
from anatpaste_gpu.training.guards import OutOfMemory, determinism, explain_out_of_memory
from anatpaste_gpu.training.input import ResidentImages, TrainingStream
from anatpaste_gpu.training.step import (
    WARM_UP,
    GraphedStep,
    MetricBuffer,
    Metrics,
    StepClock,
    TrainingStep,
    wants_graph,
)

from .training_runs import assert_same_run, begun, quiet, tiny, train

CPU = torch.device("cpu")


def density_peaks(count: int, queries: int, width: int, budgets: tuple[int, ...]) -> list[int | None]:
    """Peak bytes of scoring under each budget in MiB."""
    from dev.memory import peak_bytes

    generator = torch.Generator().manual_seed(0)
    points, asked = (torch.rand(n, width, generator=generator) for n in (count, queries))
    density = KernelDensity(max_elements=elements_within(budgets[0])).fit(points)
    density.score_samples(asked[:2])
    peaks = []
    for budget in budgets:
        density.max_elements = elements_within(budget)
        peaks.append(peak_bytes(lambda: density.score_samples(asked), "cpu"))
    return peaks


def embedding_peaks(count: int, side: int, budgets: tuple[int, ...]) -> list[int | None]:
    """Peak bytes of embedding `count` images under each budget in MiB."""
    from dev.memory import peak_bytes

    network = AnatPasteNet()
    images = torch.zeros(count, 1, side, side, dtype=torch.uint8)
    assert embed(network, images, CPU, budgets[-1]).shape == (count, 512)
    return [peak_bytes(lambda b=budget: embed(network, images, CPU, b), "cpu") for budget in budgets]


class Replayer:
    """Captures as a GPU does: the work is noted, not done; replaying does it on the same memory."""

    def __init__(self) -> None:
        self.warmed = self.replayed = 0

    def warm_up(self, work: Callable[[], Metrics]) -> Metrics:
        self.warmed += 1
        return work()

    def record(self, work: Callable[[], Metrics]) -> tuple[Callable[[], None], Metrics]:
        held = {"loss": torch.zeros(()), "accuracy": torch.zeros((), dtype=torch.int64)}

        def replay() -> None:
            self.replayed += 1
            for name, value in work().items():
                held[name].copy_(value)

        return replay, held


def losses_of(splits: DatasetSplits, recorder: Replayer | None, steps: int = 8) -> list[float]:
    config = tiny(Path("unused"))
    learner = config.method.learner(config.recipe).prepare(Engine())
    step = TrainingStep(learner, learner.optimizers(), StepClock(CPU))
    if recorder is not None:
        step.capture_with(lambda compute: GraphedStep(compute, recorder, strict=True, say=pytest.fail))
    source = ResidentImages(splits.train.images, TrainingStream(len(splits.train), 4, 0), CPU)
    buffer = MetricBuffer(steps, CPU)
    for number in range(steps):
        buffer.note(step(source.batch(number), number, 0.3 * (number + 1)))
    metrics = buffer.pending()
    assert all(0 <= value <= 8 for value in metrics["accuracy"].tolist())
    values: list[float] = metrics["loss"].tolist()
    return values


class TestGraph:
    def test_captured_steps_learn_as_ordinary_ones(self, splits: DatasetSplits) -> None:
        recorder = Replayer()
        assert losses_of(splits, recorder) == losses_of(splits, None)
        assert (recorder.warmed, recorder.replayed) == (WARM_UP, 8 - WARM_UP)

    def test_what_cannot_be_captured_goes_on_or_is_an_error(self) -> None:
        class Refusing(Replayer):
            def record(self, work: Callable[[], Metrics]) -> tuple[Callable[[], None], Metrics]:
                raise RuntimeError("operation not permitted when stream is capturing\nCompile with ...")

        batch = Batch(torch.zeros(2, 1, 16, 16, dtype=torch.uint8), torch.arange(2))
        result = {"loss": torch.ones(())}
        said: list[str] = []
        easy = GraphedStep(lambda *_: result, Refusing(), strict=False, say=said.append)
        assert [easy(batch, number) for number in range(6)] == [result] * 6
        assert not easy.captured
        reason = r"(operation not permitted when stream is capturing)"
        assert said == [f"The step runs without a CUDA graph, as it cannot be captured {reason}."]
        strict = GraphedStep(lambda *_: result, Refusing(), strict=True, say=pytest.fail)
        for number in range(WARM_UP):
            strict(batch, number)
        with pytest.raises(
            ValueError, match=r"cannot be captured in a CUDA graph .* leave --cuda_graph out\."
        ):
            strict(batch, WARM_UP)

    @pytest.mark.parametrize(
        "words",
        [
            "CUDA error: operation not permitted when stream is capturing\nCompile with ...",
            "segment_lungs: operation not permitted when stream is capturing (grid 4x1x1, block 1024x1x1)",
            "CUDA error: operation failed due to a previous error during capture",
            "Cannot call CUDAGeneratorImpl::current_seed during CUDA graph capture. If you need this call",
        ],
    )
    def test_what_means_that_it_cannot_be_captured(self, words: str) -> None:
        assert why_not_captured(RuntimeError(words)) == words.partition("\n")[0]

    def test_the_runtimes_code_is_enough(self) -> None:
        error = RuntimeError("CUDA error: words of another release")
        assert why_not_captured(error) is None
        error.error_code = 904  # type: ignore[attr-defined]
        assert why_not_captured(error) == "CUDA error: words of another release"

    @pytest.mark.parametrize("strict", [False, True])
    @pytest.mark.parametrize(
        "error",
        [
            RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
            RuntimeError("CUDA error: an illegal memory access was encountered"),
            KeyError("loss"),
        ],
        ids=["shapes", "memory", "address", "key"],
    )
    def test_a_step_that_fails_is_not_one_that_cannot_be_captured(
        self, error: Exception, strict: bool
    ) -> None:
        """Though the capture, which it spoils, ends with an error that says so."""

        class Spoilt(Replayer):
            def record(self, work: Callable[[], Metrics]) -> tuple[Callable[[], None], Metrics]:
                try:
                    work()
                finally:
                    raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

        def compute(batch: Batch, number: int, timed: bool) -> Metrics:
            if number == WARM_UP:
                raise error
            return {"loss": torch.ones(())}

        batch = Batch(torch.zeros(2, 1, 16, 16, dtype=torch.uint8), torch.arange(2))
        step = GraphedStep(compute, Spoilt(), strict=strict, say=pytest.fail)
        for number in range(WARM_UP):
            step(batch, number)
        with pytest.raises(type(error)) as raised:
            step(batch, WARM_UP)
        assert raised.value is error

    def test_who_gets_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ordinary, insisting = TrainConfig.of(), TrainConfig.of(cuda_graph=True)
        assert not wants_graph(ordinary, learner_on("cpu"))
        with pytest.raises(ValueError, match="cuda_graph true needs a GPU and the compiled CUDA kernels"):
            wants_graph(insisting, learner_on("cpu"))
        with pytest.raises(ValueError, match="goes neither with precision float16 nor with compile true"):
            TrainConfig.of(cuda_graph=True, precision="float16")
        monkeypatch.setattr("anatpaste_gpu._extension.has_cuda_kernels", lambda: True)
        assert wants_graph(ordinary, learner_on("cuda"))
        assert not wants_graph(TrainConfig.of(cuda_graph=False), learner_on("cuda"))

    def test_a_method_that_cannot_be_captured_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """By its limits, or by the learner itself."""
        monkeypatch.setattr("anatpaste_gpu._extension.has_cuda_kernels", lambda: True)
        limited = dataclasses.replace(get_method("anatpaste"), limits={CUDA_GRAPH: "it asks the host"})
        insisting = TrainConfig.of(cuda_graph=True)
        with monkeypatch.context() as patch:
            patch.setattr(TrainConfig, "method", property(lambda self: limited))
            assert not wants_graph(TrainConfig.of(), learner_on("cuda"))
            with pytest.raises(
                ValueError, match=r"^method anatpaste does not go with cuda_graph true: it asks the host\.$"
            ):
                wants_graph(insisting, learner_on("cuda"))
        learner = learner_on("cuda")
        monkeypatch.setattr(learner, "why_no_graph", lambda: "it asks the host")
        assert not wants_graph(TrainConfig.of(), learner)
        with pytest.raises(
            ValueError, match=r"^cuda_graph true cannot be had: it asks the host; leave --cuda_graph out\.$"
        ):
            wants_graph(insisting, learner)


def learner_on(device: str) -> Learner:
    """A learner that thinks it is on a device."""
    learner = Learner(Recipe())
    learner.engine = SimpleNamespace(device=torch.device(device), ranks=Ranks())  # type: ignore[assignment]
    return learner


def test_float16_is_for_gpus() -> None:
    with pytest.raises(
        ValueError, match="precision float16 needs a GPU; on the CPU choose bfloat16, float32"
    ):
        compute_dtype("float16", CPU)
    assert compute_dtype("float16", torch.device("cuda")) == torch.float16


@pytest.mark.slow
def test_compiled_step_learns_alike(tmp_path: Path, splits: DatasetSplits) -> None:
    """Loss and gradient of the first step: those after it magnify that fused kernels round differently."""
    found = []
    for on in (False, True):
        config = tiny(tmp_path / str(on), compile=on, precision="float32")
        trainer = begun(config, splits)
        loss = trainer.training_step(trainer.source.batch(0), 0, 1.0)["loss"]
        gradients = [weight.grad for weight in trainer.learner.parameters()]
        found.append((loss, torch.cat([g.flatten() for g in gradients if g is not None])))
        assert len(gradients) == sum(g is not None for g in gradients)
    (loss, gradient), (compiled_loss, compiled_gradient) = found
    # float32 sums in another order; either gradient is about 1e-4 from float64's: roundings flip some ReLUs.
    torch.testing.assert_close(compiled_loss, loss, rtol=1e-4, atol=0)
    assert (compiled_gradient - gradient).norm() < 1e-2 * gradient.norm()


class TestDeterminism:
    @pytest.fixture(autouse=True)
    def _environment(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
        yield
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)

    def test_settings_hold_within_and_are_put_back(self) -> None:
        with determinism(True):
            assert torch.are_deterministic_algorithms_enabled()
            assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark) == (True, False)
            assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        assert not torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.deterministic
        with determinism(False):
            assert not torch.are_deterministic_algorithms_enabled()

    def test_started_too_late(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
        with (
            pytest.raises(
                ValueError, match="needs CUBLAS_WORKSPACE_CONFIG=:4096:8 in the environment before"
            ),
            determinism(True),
        ):
            pass

    def test_an_operator_without_an_implementation_is_named(self) -> None:
        reason = "adaptive_avg_pool2d_backward_cuda does not have a deterministic implementation, but you set"
        with (
            pytest.raises(
                ValueError, match=r"network: adaptive_avg_pool2d_backward_cuda has no deterministic"
            ),
            determinism(True),
        ):
            raise RuntimeError(reason)

    def test_run_is_the_ordinary_one_on_the_cpu_for_any_number_of_workers(
        self, tmp_path: Path, splits: DatasetSplits
    ) -> None:
        train(tiny(tmp_path / "ordinary"), splits=splits, console=quiet())
        train(tiny(tmp_path / "deterministic", deterministic=True, workers=3), splits=splits, console=quiet())
        assert_same_run(tmp_path / "ordinary", tmp_path / "deterministic")

    def test_run_is_the_same_for_any_number_of_decoding_workers(
        self, tmp_path: Path, splits: DatasetSplits
    ) -> None:
        """Decoded from files, another order of finishing each time."""
        root = tmp_path / "hands"
        for part in (splits.train, splits.validation, splits.test):
            for number, (image, label) in enumerate(zip(part.images, part.labels.tolist(), strict=True)):
                file = root / ("normal", "fracture")[label] / f"{len(part)}-{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image[0].numpy()).save(file)
        for workers in (1, 3):
            run = tiny(tmp_path / str(workers), dataset="folder", data_root=str(root), workers=workers)
            train(run, console=quiet())
        assert_same_run(tmp_path / "1", tmp_path / "3")


@pytest.mark.slow
class TestMemory:
    @pytest.mark.parametrize(
        ("error", "where"),
        [
            (MemoryError(), "this machine"),
            (
                RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
                "this machine",
            ),
            (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."), "the GPU"),
        ],
    )
    def test_a_sentence_says_what_to_lower(self, error: Exception, where: str) -> None:
        with (
            pytest.raises(
                OutOfMemory, match=rf"^{where} is out of memory; lower --batch_size \(now 64\), --image"
            ),
            explain_out_of_memory(TrainConfig.of(), CPU),
        ):
            raise error

    def test_a_real_failure_of_the_cpu_allocator(self) -> None:
        with pytest.raises(OutOfMemory, match="this machine"), explain_out_of_memory(TrainConfig.of(), CPU):
            torch.empty(1 << 55)

    def test_gpu_may_give_back_the_images(self) -> None:
        gpu = torch.device("cuda")
        with (
            pytest.raises(OutOfMemory, match="keeps the training images"),
            explain_out_of_memory(TrainConfig.of(), gpu),
        ):
            raise torch.OutOfMemoryError
        spent = TrainConfig.of(device_budget=0)
        with pytest.raises(OutOfMemory) as raised, explain_out_of_memory(spent, gpu):
            raise torch.OutOfMemoryError
        assert "device_budget" not in str(raised.value)

    def test_other_errors_pass(self) -> None:
        with (
            pytest.raises(RuntimeError, match=r"^shape mismatch$"),
            explain_out_of_memory(TrainConfig.of(), CPU),
        ):
            raise RuntimeError("shape mismatch")

    def test_budgets(self) -> None:
        assert embedding_batch(256, 1024) == 64
        assert (embedding_batch(256, 120), embedding_batch(4096, 1)) == (10, 1)
        assert elements_within(1024) == 1 << 24
        assert elements_within(48) == 1 << 20

    @pytest.mark.parametrize(
        ("count", "queries", "width"), [(6000, 600, 512), (6000, 2, 512), (20, 20000, 512)]
    )
    def test_density_keeps_to_its_budget(
        self, fresh: ProcessPoolExecutor, count: int, queries: int, width: int
    ) -> None:
        """As the kernel counts it, whatever is many: training points, queries, or numbers a point."""
        budget = 24
        peak, wide = fresh.submit(density_peaks, count, queries, width, (budget, 4 * budget)).result()
        if peak is None:
            pytest.skip("this system does not tell a process's peak")
        # 8 MiB for the matrix product's own workspace and what the allocator keeps.
        assert peak < (budget + 8) * 2**20
        # The bound is one: with four times the budget it is exceeded.
        if count * queries > elements_within(4 * budget):
            assert wide > peak

    def test_embedding_keeps_to_its_budget(self, fresh: ProcessPoolExecutor) -> None:
        """As the kernel counts it; the bound is one, as more is taken where it is larger."""
        budgets = (32, 64, 128)
        assert embedding_batch(128, budgets[-1]) < 96, "no budget holds all images"
        peaks = fresh.submit(embedding_peaks, 96, 128, budgets).result()
        if peaks[0] is None:
            pytest.skip("this system does not tell a process's peak")
        assert all(peak < budget * 2**20 for peak, budget in zip(peaks, budgets, strict=True)), peaks
        assert all(peak > 0.5 * budget * 2**20 for peak, budget in zip(peaks, budgets, strict=True)), peaks

    def test_embedding_splits_by_its_budget(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """No batch is larger than what the budget's estimate allows, and none of the images is lost."""
        network, sizes = AnatPasteNet(), []
        whole = network.embed

        def counted(batch: torch.Tensor) -> torch.Tensor:
            sizes.append(len(batch))
            return whole(batch)

        monkeypatch.setattr(network, "embed", counted)
        images = torch.zeros(40, 1, 128, 128, dtype=torch.uint8)
        assert embed(network, images, CPU, 32).shape == (40, 512)
        assert max(sizes) == embedding_batch(128, 32) < 40
        assert sum(sizes) == 40
