"""Two ranks against one process: draws, statistics, gradients, losses, embeddings, density, detector."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torch.multiprocessing
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import KernelDensity as SklearnDensity
from torch import nn

from anatpaste_gpu.distributed import (
    JointBatchNorm,
    Ranks,
    mean_cross_entropy,
    own_parts,
    with_joint_statistics,
)
from anatpaste_gpu.distributed.engine import shards
from anatpaste_gpu.distributed.parts import pairwise_sum, train_in_parts
from anatpaste_gpu.methods import Recipe
from anatpaste_gpu.methods.pretext.task import TASKS
from anatpaste_gpu.methods.pretext.twins import Twins
from anatpaste_gpu.training import train
from anatpaste_gpu.training.input import share_of_batch

from . import rank_worker


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def both(folder: Path) -> list[dict[str, Any]]:
    """What each of two ranks computed."""
    torch.multiprocessing.spawn(rank_worker.rank_main, (2, str(folder)), nprocs=2)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(2)]


@pytest.fixture(scope="module")
def one(folder: Path) -> dict[str, Any]:
    """What one process computes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    results = rank_worker.everything(Ranks(), folder)
    torch.set_num_threads(threads)
    return results


@pytest.mark.slow
def test_draws_are_the_same_to_the_bit(both: list[dict[str, Any]], one: dict[str, Any]) -> None:
    for number, (index, batch) in enumerate(one["batches"]):
        parts = [rank["batches"][number] for rank in both]
        assert torch.equal(torch.cat([part[0] for part in parts]), index)
        halves = [part[1].chunk(2) for part in parts]
        # A rank's batch is its images and then their twins.
        assert torch.equal(torch.cat([half[0] for half in halves] + [half[1] for half in halves]), batch)


class TestJointBatchNorm:
    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["norm1d", "norm2d"])
    def test_equals_one_process(self, name: str, both: list[dict[str, Any]], one: dict[str, Any]) -> None:
        expected = one[name]
        for key, value in expected.items():
            found = [rank[name][key] for rank in both]
            if key in ("output", "input_gradient", "evaluated"):
                result = torch.cat(found)
            elif key.endswith("_gradient"):
                result = found[0] + found[1]  # a loss that is a sum; DDP averages, of losses that are means
            else:
                assert torch.equal(found[0], found[1]), key
                result = found[0]
            # float64, other orders of summation, of values up to 1e4.
            torch.testing.assert_close(result, value, rtol=1e-10, atol=1e-10, msg=key)

    @pytest.mark.slow
    def test_bfloat16_keeps_its_statistics_in_float32(
        self, both: list[dict[str, Any]], one: dict[str, Any]
    ) -> None:
        expected, found = one["bfloat16"], [rank["bfloat16"] for rank in both]
        assert all(part["output"].dtype == torch.bfloat16 for part in found)
        for key in ("0.running_mean", "0.running_var"):
            torch.testing.assert_close(found[0][key], expected[key], rtol=1e-6, atol=1e-6)
        gradient = torch.cat([part["input_gradient"] for part in found])
        # bfloat16 rounds to 2^-8 of a value; the gradients reach about 6.
        torch.testing.assert_close(gradient, expected["input_gradient"], rtol=2**-7, atol=0.05)

    def test_takes_over_tensors_and_names(self) -> None:
        network = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()))
        before = dict(network.named_parameters())
        names = list(network.state_dict())
        with_joint_statistics(network)
        assert isinstance(network[1][0], JointBatchNorm)
        assert all(value is before[name] for name, value in network.named_parameters())
        assert list(network.state_dict()) == names

    def test_evaluation_needs_no_group(self) -> None:
        plain = nn.BatchNorm1d(3)
        plain.running_var.mul_(3)  # type: ignore[union-attr]
        network, points = nn.Sequential(plain), torch.randn(4, 3)
        expected = network.eval()(points)
        with_joint_statistics(network)
        assert torch.equal(network.eval()(points), expected)


class TestLosses:
    @pytest.mark.slow
    def test_twenty_steps_in_float32(self, both: list[dict[str, Any]], one: dict[str, Any]) -> None:
        assert torch.equal(both[0]["small"], both[1]["small"])
        assert one["small"][-1] < one["small"][0], "it learns"
        torch.testing.assert_close(both[0]["small"], one["small"], rtol=1e-4, atol=0)

    @pytest.mark.slow
    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    def test_whole_network_in_parts_is_the_same_to_the_bit(
        self, precision: str, both: list[dict[str, Any]], one: dict[str, Any]
    ) -> None:
        (losses, weights), *ranks = (results[f"parts_{precision}"] for results in (one, *both))
        assert len(set(losses)) == 20
        for rank_losses, rank_weights in ranks:
            assert rank_losses == losses
            assert rank_weights.keys() == weights.keys()
            assert all(torch.equal(rank_weights[name], weights[name]) for name in weights)

    @pytest.mark.slow
    def test_whole_network_in_float64(self, both: list[dict[str, Any]], one: dict[str, Any]) -> None:
        # At this learning rate a rounding grows about tenfold a step, in one process as in two: 1e-15 becomes
        # 1e-12. A gradient or a statistic that were wrong by 0.1 % would show at once.
        torch.testing.assert_close(both[0]["whole"], one["whole"], rtol=1e-9, atol=0)


class TestParts:
    def test_gradients_and_statistics_are_those_of_the_whole_batch(self) -> None:
        images = torch.randn(8, 1, 24, 24, generator=torch.Generator().manual_seed(2)).double()
        labels = torch.arange(2).repeat(4)
        whole = rank_worker.small_network()
        whole(images.float())
        whole = whole.double()
        cut = copy.deepcopy(whole)
        train_in_parts(cut, 4)
        with_joint_statistics(cut, 4)
        assert list(cut.state_dict()) == list(whole.state_dict())
        for network, parts in ((whole, 1), (cut, 4)):
            mean_cross_entropy(network(images), labels, parts).backward()
        for (name, expected), found in zip(whole.named_parameters(), cut.parameters(), strict=True):
            # Rounding of float64 alone: a part left out or counted twice would be off by a quarter.
            torch.testing.assert_close(found.grad, expected.grad, rtol=1e-9, atol=1e-12, msg=name)
        for name, expected in whole.named_buffers():
            torch.testing.assert_close(cut.get_buffer(name), expected, rtol=1e-12, atol=1e-14, msg=name)
        assert torch.equal(cut.eval()(images), cut(images)), "evaluation knows no parts"

    @given(st.integers(0, 4), st.integers(0, 4), st.integers(0, 2**32 - 1))
    def test_sums_do_not_depend_on_who_holds_the_terms(self, own: int, ranks: int, seed: int) -> None:
        terms = torch.randn(2 ** (own + ranks), 50, generator=torch.Generator().manual_seed(seed))
        held = [pairwise_sum(list(rank)) for rank in terms.unflatten(0, (2**ranks, -1))]
        assert torch.equal(pairwise_sum(held), pairwise_sum(list(terms)))
        # float32 roundings of at most 256 terms of about 1.
        expected = terms.double().sum(0)
        torch.testing.assert_close(pairwise_sum(list(terms)).double(), expected, rtol=0, atol=1e-4)

    def test_a_batch_has_images_and_their_twins_in_every_part(self) -> None:
        images = torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8)
        whole, cut = (Twins(TASKS["anatpaste"], 0, 4, rank_worker.CPU, parts) for parts in (1, 2))
        order = [0, 1, 4, 5, 2, 3, 6, 7]
        assert torch.equal(cut(images, torch.arange(4)), whole(images, torch.arange(4))[order])
        assert torch.equal(cut.labels, whole.labels[order])

    def test_what_cannot_be_cut_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"must be divisible by the 4 ranks that share them, got 2\."):
            own_parts(2, 4)
        assert own_parts(1, 3) == 1
        with pytest.raises(ValueError, match=r"layers; 1\.0 is a LayerNorm\."):
            train_in_parts(nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.LayerNorm(3))), 2)

    def test_a_run_that_cannot_be_cut_leaves_nothing(self, tmp_path: Path) -> None:
        config = rank_worker.CONFIG.replace(backbone="swin_t", batch_parts=2, output=str(tmp_path / "run"))
        with pytest.raises(
            ValueError, match="batch_parts needs a backbone whose weights are those of Conv2d"
        ):
            train(config, splits=rank_worker.splits())
        with pytest.raises(ValueError, match="must be divisible by the 4 ranks"):
            train(config, splits=rank_worker.splits(), ranks=Ranks(world=4))
        assert not (tmp_path / "run").exists()


class TestDensity:
    @pytest.mark.slow
    def test_equals_one_process(self, both: list[dict[str, Any]], one: dict[str, Any]) -> None:
        for name in ("density", "density32"):
            assert torch.equal(both[0][name], both[1][name])
            # Queries are shared in whole blocks, so each product has the shape that it has in one process.
            assert torch.equal(both[0][name], one[name])

    @pytest.mark.slow
    def test_equals_scikit_learn(self, both: list[dict[str, Any]]) -> None:
        training = nn.functional.normalize(torch.randn(150, 16, generator=torch.Generator().manual_seed(3)))
        reference = SklearnDensity(bandwidth=0.3, rtol=0).fit(training.double().numpy())
        expected = torch.from_numpy(reference.score_samples((training[:30] * 1.5).double().numpy()))
        # The training points are float32 numbers; scaling them in float32 costs their last digit.
        torch.testing.assert_close(both[0]["density"], expected, rtol=1e-6, atol=1e-6)

    @given(st.integers(0, 500), st.integers(1, 9), st.integers(1, 70))
    def test_shards_are_runs_of_whole_blocks(self, count: int, world: int, block: int) -> None:
        parts = shards(count, world, block)
        assert len(parts) == world
        rows = [row for part in parts for row in range(part.start, part.stop)]
        assert rows == list(range(count))
        assert all(part.start % block == 0 or part.start == count for part in parts)
        blocks = [-(-(part.stop - part.start) // block) for part in parts]
        assert max(blocks) - min(blocks) <= 1

    @pytest.mark.slow
    def test_embeddings_are_the_same_to_the_bit(
        self, both: list[dict[str, Any]], one: dict[str, Any]
    ) -> None:
        assert torch.equal(both[0]["embeddings"], both[1]["embeddings"])
        assert torch.equal(both[0]["embeddings"], one["embeddings"])


@pytest.mark.slow
def test_the_detector_holds_all_embeddings(
    folder: Path, both: list[dict[str, Any]], one: dict[str, Any]
) -> None:
    assert both[0]["areas"] == both[1]["areas"] == one["areas"], "AUCs by density, Mahalanobis and neighbours"
    files = [folder / name / ".model.safetensors.next" for name in ("one", "two")]
    whole, shared = (safetensors.torch.load_file(file) for file in files)
    assert whole.keys() == shared.keys()
    assert all(torch.equal(whole[name], shared[name]) for name in whole)
    contents = []
    for file in files:
        with safetensors.safe_open(file, "pt") as opened:
            contents.append(json.loads(opened.metadata()["detector"]))
    assert contents[0] == contents[1], "every rank has all embeddings, so scores are equal to the bit"


@pytest.mark.slow
def test_ranks_agree_on_the_step_to_stop_at_and_to_save_after(both: list[dict[str, Any]]) -> None:
    expected = [(0, False), (0, False), (0, True), (15, False)]
    assert both[0]["agreed"] == both[1]["agreed"] == expected


@pytest.mark.slow
def test_what_the_leader_returns_or_raises_reaches_all(both: list[dict[str, Any]]) -> None:
    assert both[0]["from_leader"] == both[1]["from_leader"] == ({"rank": 0}, "the leader cannot.")


def test_a_batch_that_cannot_be_shared_equally_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"batch_size must be divisible by the 3 ranks that share it, got 64"
    ):
        share_of_batch(Recipe().schedule.batch_size, 3)
