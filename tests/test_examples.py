"""The examples for MONAI, Lightning, albumentations and anomalib, where the library is installed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import anatpaste_gpu
from anatpaste_gpu.data import DatasetSplits, plan_split

from .training_runs import phantoms


@pytest.fixture(scope="module")
def splits() -> DatasetSplits:
    return phantoms()


@pytest.fixture(scope="module", autouse=True)
def _offline() -> Iterator[None]:
    """No library is to ask the network for news."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("NO_ALBUMENTATIONS_UPDATE", "HF_HUB_OFFLINE"):
            patch.setenv(name, os.environ.get(name, "1"))
        yield


class TestMonai:
    @pytest.fixture
    def example(self) -> Any:
        pytest.importorskip("monai", reason="an example is for MONAI")
        from examples import monai_transform

        return monai_transform

    def test_samples_are_augmented_by_monais_seed(self, example: Any, splits: DatasetSplits) -> None:
        sample = {"image": splits.train.images[0], "name": "x"}
        first, again, other = (
            example.AnatPasted("image", label_key="label").set_random_state(seed=seed)(sample)
            for seed in (0, 0, 1)
        )
        assert torch.equal(first["image"], again["image"])
        assert not torch.equal(first["image"], other["image"])
        assert not torch.equal(first["image"], sample["image"])
        assert (first["name"], first["label"]) == ("x", 1)

    def test_prob_0_leaves_it(self, example: Any, splits: DatasetSplits) -> None:
        sample = example.AnatPasted("image", prob=0.0, label_key="label")({"image": splits.train.images[0]})
        assert torch.equal(sample["image"], splits.train.images[0])
        assert sample["label"] == 0

    def test_batches_and_metatensors(self, example: Any, splits: DatasetSplits) -> None:
        from monai.data import MetaTensor

        batch = MetaTensor(splits.train.images[:4].float() / 255, meta={"origin": "there"})
        found = example.AnatPasted("image").set_random_state(seed=0)({"image": batch})["image"]
        assert isinstance(found, MetaTensor)
        assert found.meta["origin"] == "there"
        assert found.shape == batch.shape
        changed = (found != batch).flatten(1).any(1)
        assert changed.sum() >= 3, "each image has a draw of its own; a figure may be empty"

    def test_it_runs(self, example: Any, capsys: pytest.CaptureFixture[str]) -> None:
        example.main()
        assert "of 16 images are augmented twins." in capsys.readouterr().out


class TestAlbumentations:
    @pytest.fixture
    def example(self) -> Any:
        pytest.importorskip("albumentations", reason="an example is for albumentations")
        from examples import albumentations_transform

        return albumentations_transform

    @pytest.mark.parametrize("channels", [0, 1, 3])
    def test_it_draws_from_the_pipelines_seed(
        self, example: Any, splits: DatasetSplits, channels: int
    ) -> None:
        import albumentations as A

        image = splits.train.images[0, 0].numpy()
        if channels:
            image = np.repeat(image[..., None], channels, axis=2)
        first, again, other = (
            A.Compose([example.AnatPaste(p=1.0)], seed=seed)(image=image)["image"] for seed in (0, 0, 1)
        )
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)
        assert (first.shape, first.dtype) == (image.shape, image.dtype)

    def test_masks_pass_through(self, example: Any, splits: DatasetSplits) -> None:
        import albumentations as A

        image, mask = splits.train.images[0, 0].numpy(), np.eye(32, dtype=np.uint8)
        found = A.Compose([example.AnatPaste(p=1.0)], seed=0)(image=image, mask=mask)
        assert np.array_equal(found["mask"], mask)

    def test_it_runs(self, example: Any, capsys: pytest.CaptureFixture[str]) -> None:
        example.main()
        assert "of 16 images are augmented twins." in capsys.readouterr().out


class TestLightning:
    @pytest.fixture
    def example(self) -> Any:
        pytest.importorskip("lightning", reason="an example is for Lightning")
        from examples import lightning_twins

        return lightning_twins

    def test_a_batch_is_images_and_their_twins(self, example: Any, splits: DatasetSplits) -> None:
        data = example.Twins(splits, batch_size=4, seed=5)
        index = torch.tensor([3, 1])
        images, labels = data.on_after_batch_transfer((splits.train.images[index], index), 0)
        twins = anatpaste_gpu.batch_augment(splits.train.images[index], seed=5, index=index, step=0)
        assert torch.equal(images, torch.cat([splits.train.images[index], twins]).float() / 255)
        assert labels.tolist() == [0, 0, 1, 1]

    def test_it_trains_and_scores(self, example: Any, splits: DatasetSplits) -> None:
        from lightning import Trainer

        trainer = Trainer(
            accelerator="cpu",
            max_epochs=1,
            limit_train_batches=2,
            callbacks=[example.DensityAuc()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(example.Pretext(), datamodule=example.Twins(splits, batch_size=4))
        assert 0 <= float(trainer.callback_metrics["density_auc"]) <= 1
        assert float(trainer.callback_metrics["loss"]) > 0


class TestAnomalib:
    @pytest.fixture
    def example(self) -> Any:
        pytest.importorskip("anomalib", reason="an example is for anomalib")
        from examples import anomalib_generator

        return anomalib_generator

    def test_it_gives_what_perlin_noise_gives(self, example: Any, splits: DatasetSplits) -> None:
        images = splits.train.images[:8].repeat(1, 3, 1, 1).float() / 255
        torch.manual_seed(0)
        twins, masks = example.AnatPasteGenerator(p=1.0)(images)
        assert (twins.shape, masks.shape) == (images.shape, (8, 1, 32, 32))
        assert set(masks.unique().tolist()) == {0.0, 1.0}
        changed = (twins != images).any(1, keepdim=True)
        assert not (changed.logical_not() & (masks > 0)).float().mean() > 0.05, (
            "a paste may equal what was there"
        )
        single, mask = example.AnatPasteGenerator(p=0.0)(images[0])
        assert torch.equal(single, images[0])
        assert not mask.any()

    def test_its_layout_is_ours(self, example: Any, tmp_path: Path) -> None:
        example.write_phantoms(tmp_path, 32)
        entries = plan_split("mvtec", tmp_path, progress=False).entries
        assert {one.findings for one in entries if one.label} == {("finding",)}

    @pytest.mark.slow
    def test_draem_trains_with_it(
        self, example: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        words = ["anomalib_generator.py", "--folder", str(tmp_path), "--steps", "2"]
        monkeypatch.setattr("sys.argv", words)
        example.main()
        assert list((tmp_path / "results").rglob("*.ckpt"))
