"""The programs of the GPU check, with the CPU in the GPU's place: what they compare, time and train."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import anatpaste_gpu
from anatpaste_gpu import ops
from anatpaste_gpu.training import TrainConfig
from bench.gpu import images, profile, step, stress, training
from bench.gpu.images import Radiographs
from dev import REPOSITORY

from .training_runs import phantoms

TINY = {"backbone": "shufflenet_v2_x0_5", "image_size": 32, "batch_size": 4, "gpu": -1, "threads": 1}


class TestImages:
    def test_a_size_is_made_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        made: list[int] = []
        original = Radiographs.square

        def square(self: Radiographs, number: int, side: int) -> np.ndarray:
            made.append(side)
            return original(self, number, side)

        monkeypatch.setattr(Radiographs, "square", square)
        first = Radiographs(kept=tmp_path).batch(3, 48, 64)
        again = Radiographs(kept=tmp_path).batch(3, 48, 64)
        assert first.shape == (3, 1, 48, 64)
        assert torch.equal(first, again)
        assert made == [64] * 3
        assert not torch.equal(first[0], first[1])
        more = Radiographs(kept=tmp_path).batch(20, 64, 64)
        assert torch.equal(more[:3, :, :48], first)
        assert torch.equal(more[8], more[0]), "eight are made, and repeated"

    def test_a_folders_pictures_are_taken(self, tmp_path: Path) -> None:
        folder = tmp_path / "pictures" / "inner"
        folder.mkdir(parents=True)
        for number in range(3):
            Image.fromarray(np.full((40, 50), 60 * number, dtype=np.uint8)).save(folder / f"{number}.png")
        batch = Radiographs(tmp_path / "pictures", tmp_path).batch(5, 16, 32)
        assert batch[:, 0, 0, 0].tolist() == [0, 60, 120, 0, 60]

    def test_a_folder_without_pictures(self, tmp_path: Path) -> None:
        with pytest.raises(
            ValueError, match=r"^--images must be a folder with .* files, got .* without any\.$"
        ):
            images.pictures_in(tmp_path)


class TestStress:
    def test_all_is_well_here(self) -> None:
        found = stress.stress(Radiographs(), repeats=2, sides=(64, 50), calls=2, device="cpu")
        counts = {"label_components": 0, "segment_lungs": 0}
        assert found["passed"]
        assert found["runs_that_differ"] == {"64": counts, "50": counts}
        assert found["threads"] == []

    def test_one_wrong_run_is_counted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = iter(range(100))
        right = ops.label_components

        def sometimes_wrong(mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
            labels, *rest = right(mask)
            return (labels + (next(calls) == 2), *rest)

        monkeypatch.setattr(ops, "label_components", sometimes_wrong)
        found = stress.stress(Radiographs(), repeats=4, sides=(64,), calls=1, device="cpu")
        assert found["runs_that_differ"]["64"]["label_components"] == 1
        assert not found["passed"]

    def test_a_thread_that_fails_is_heard(self, monkeypatch: pytest.MonkeyPatch) -> None:
        right = anatpaste_gpu.segment_lungs
        seen: set[int] = set()
        lock = threading.Lock()

        def refused(given: torch.Tensor) -> torch.Tensor:
            with lock:
                first = given.shape[-1] not in seen
                seen.add(given.shape[-1])
            if given.shape[-1] == 128 and not first:
                raise RuntimeError("segment_lungs: invalid argument (grid 4x1x1)")
            return right(given)

        monkeypatch.setattr(anatpaste_gpu, "segment_lungs", refused)
        assert stress.in_threads(Radiographs(), 2, "cpu") == [
            "128: segment_lungs: invalid argument (grid 4x1x1)"
        ]


class TestStep:
    @pytest.fixture
    def calls(self) -> step.Calls:
        pictures = torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8)
        return step.ways(pictures, TrainConfig.of(**TINY), torch.float32)

    def test_the_bare_step_learns_and_makes_no_twins(
        self, calls: step.Calls, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert set(calls) == {"full", "bare", "twins"}
        assert calls["twins"]().shape == (8, 1, 32, 32)
        asked: list[bool] = []

        def jittered(images: torch.Tensor, **_: object) -> torch.Tensor:
            asked.append(True)
            return images

        monkeypatch.setattr("anatpaste_gpu.methods.pretext.twins.image_jitter", jittered)
        assert calls["bare"]()["loss"].isfinite()
        assert not asked
        assert calls["full"]()["loss"].isfinite()
        assert asked

    def test_times_are_taken_in_turns(self) -> None:
        done: list[str] = []
        found = step.in_turns({"a": lambda: done.append("a"), "b": lambda: done.append("b")}, 3, "cpu")
        assert "".join(done) == "ab" * (step.WARM_UP + 3)
        assert [len(times) for times in found.values()] == [3, 3]

    def test_the_ratio_is_that_of_rounds(self) -> None:
        """A round in which the machine was busy with other things moves it as little as a median can be."""
        times = {"full": [10.0, 20.0, 10.0], "bare": [9.9, 19.8, 9.9], "twins": [0.1, 0.1, 0.1]}
        found = step.summary(times, 64)
        assert found["full_over_bare"] == pytest.approx(0.99)
        assert found["images_per_second"] == pytest.approx(12_800)


KERNEL = "void anatpaste::segment_lungs_kernel<unsigned char, (anatpaste::Blend)0>(const T1 *)"
NCU = f"""\
==PROF== Connected to process 1 (/usr/bin/python3)
==PROF== Profiling "segment_lungs_kernel" - 0: 0%....50%....100% - 1 pass
passed: True
"ID","Process ID","Kernel Name","gpu__time_duration.sum","sm__cycles_elapsed.max","dram__bytes.sum"
"","","","ns","cycle","byte"
"0","1","{KERNEL}","271,360","535,655","n/a"
"""


class TestProfile:
    def test_what_it_says_is_read(self) -> None:
        assert profile.launches(NCU) == [
            {
                "kernel": KERNEL,
                "nanoseconds": 271_360.0,
                "cycles": 535_655.0,
            }
        ]
        assert profile.launches("==ERROR== ERR_NVGPUCTRPERM") == []

    def test_the_program_is_named_after_the_options(self) -> None:
        command = profile.command("ncu", ["python", "-m", "bench.gpu.once"])
        assert command[0] == "ncu"
        assert command[-3:] == ["python", "-m", "bench.gpu.once"]


class TestTraining:
    def test_as_many_epochs_as_fit(self) -> None:
        """13 ms a step, 64 of them an epoch: 0.83 s an epoch."""
        assert training.epochs_within(115.0, 13.0) == 90
        assert training.epochs_within(0.0, 13.0) == 1

    def test_zhanglab_is_known_by_its_layout(self, tmp_path: Path) -> None:
        assert training.data_of(tmp_path) == training.data_of(None) == {"dataset": "demo"}
        (tmp_path / "chest_xray").mkdir()
        assert training.data_of(tmp_path) == {"dataset": "zhanglab", "data_root": str(tmp_path)}

    def test_it_tells_the_auc(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(training, "TRIAL", {**training.TRIAL, "steps_per_epoch": 2})
        monkeypatch.setattr(training, "STEPS_PER_EPOCH", 3)
        found = training.trained(0.0, {**TINY, "dataset": "demo", "bootstrap_samples": 100}, phantoms())
        assert found["recipe"]["epochs"] == 1
        assert 0 <= found["test"]["auc"] <= 1
        assert found["trial_step_ms"] > 0


OTHER_PROGRAMS = ("stress", "timings", "step", "profile", "once", "training")


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
@pytest.mark.parametrize(
    "program", ["parity", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHER_PROGRAMS)]
)
def test_a_program_needs_a_gpu(program: str) -> None:
    """And nothing that only the command line or DICOM needs."""
    lacking = "import sys; sys.modules.update(dict.fromkeys(('jsonargparse', 'kornia', 'pydicom')))"
    code = f"{lacking}; import runpy; runpy.run_module('bench.gpu.{program}', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "this needs an NVIDIA GPU that PyTorch can use."
