"""What is installed for what: imports of the core, missing extras in one sentence, and their declarations."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib
from packaging.requirements import Requirement

import anatpaste_gpu
from anatpaste_gpu.cli import COMMANDS, main
from anatpaste_gpu.cli.outcome import WRONG_USAGE
from anatpaste_gpu.extras import MODULES, PACKAGES, MissingExtra, require

from .test_import_graph import MODULES as OUR_MODULES
from .test_import_graph import imported, layer_of

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRA_OF = {
    "prepare": "data",
    **dict.fromkeys(("train", "score", "export", "fuse", "localise"), "train"),
    **dict.fromkeys(("report", "reproduce", "augment"), "report"),
    "serve": "serve",
}
NEEDLESS = (
    *("jsonargparse", "yaml", "rich", "matplotlib", "jinja2", "pydicom", "tensorboard", "safetensors"),
    "PIL",
)
FEATURES = """
import numpy, torch, anatpaste_gpu
images = torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8)
assert anatpaste_gpu.batch_augment(images, seed=1).shape == images.shape
assert anatpaste_gpu.batch_augment(images, seed=1, backend="torch").shape == images.shape
assert anatpaste_gpu.cut_paste(images, variant="scar", seed=0).shape == images.shape
points = numpy.random.default_rng(0).normal(size=(40, 4))
for scorer in (anatpaste_gpu.KernelDensity, anatpaste_gpu.Mahalanobis, anatpaste_gpu.NearestNeighbours):
    assert scorer().fit(points).score_samples(points).shape == (40,)
"""


def run(code: str, blocked: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Runs code in a fresh process in which some packages are as if they were not installed."""
    block = f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))\n"
    return subprocess.run(
        [sys.executable, "-c", block + code], cwd=ROOT, capture_output=True, text=True, check=False
    )


def requirements(extra: str | None) -> set[str]:
    """Names that an extra brings, by way of other extras too; of the core where it is None."""
    lines = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    found = set()
    for requirement in map(Requirement, lines):
        if requirement.name == PROJECT["name"]:
            found |= set().union(*(requirements(inner) for inner in requirement.extras))
        else:
            found.add(requirement.name)
    return found


class TestCore:
    def test_augmenting_and_scoring_need_no_extra(self) -> None:
        done = run(FEATURES, NEEDLESS)
        assert done.returncode == 0, done.stderr

    def test_the_module_needs_no_extra(self) -> None:
        """Pillow aside, which torchvision itself imports."""
        code = "import anatpaste_gpu, torch; anatpaste_gpu.AnatPaste(p=1.0)(torch.rand(2, 1, 64, 64))"
        done = run(code, NEEDLESS[:-1])
        assert done.returncode == 0, done.stderr

    @pytest.mark.parametrize("code", ["import anatpaste_gpu", "anatpaste --help", "anatpaste --version"])
    def test_torch_is_not_imported_before_it_is_used(self, code: str) -> None:
        if code.startswith("anatpaste "):
            code = (
                "import contextlib, anatpaste_gpu.cli as cli\n"
                f"with contextlib.suppress(SystemExit): cli.main({code.split()[1:]!r})"
            )
        done = run(f"{code}\nprint('torch' in sys.modules, 'numpy' in sys.modules)")
        assert done.stdout.splitlines()[-1] == "False False", done.stderr


class TestPublicNames:
    def test_all_are_listed_and_found(self) -> None:
        assert set(anatpaste_gpu.__all__) <= set(dir(anatpaste_gpu))
        assert all(getattr(anatpaste_gpu, name) is not None for name in dir(anatpaste_gpu))

    def test_modules_are_attributes_as_ever(self) -> None:
        done = run("import anatpaste_gpu as a\nprint(a.ops.clahe, a.segment.segment_lungs, a.scorers.Scorer)")
        assert done.returncode == 0, done.stderr

    def test_star(self) -> None:
        done = run("from anatpaste_gpu import *\nprint(batch_augment, AnatPaste, ops)")
        assert done.returncode == 0, done.stderr

    def test_unknown_name(self) -> None:
        with pytest.raises(AttributeError, match="module 'anatpaste_gpu' has no attribute 'batch_agument'"):
            anatpaste_gpu.batch_agument  # noqa: B018


class TestMissingExtra:
    @pytest.mark.parametrize(("command", "module"), [(c, m) for c in COMMANDS for m in MODULES[EXTRA_OF[c]]])
    def test_commands_end_in_one_line(
        self, command: str, module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setitem(sys.modules, module, None)
        assert main([command, "--help"]) == WRONG_USAGE
        assert capsys.readouterr().err == (
            f"anatpaste {command}: this command needs {PACKAGES.get(module, module)}, "
            "which is not installed; "
            f'pip install "anatpaste_gpu[{EXTRA_OF[command]}]" brings it.\n'
        )

    @pytest.mark.parametrize("program", ["train.py", "anatpaste-train"])
    def test_other_ways_to_train(self, program: str) -> None:
        code = (
            "import runpy; runpy.run_path('train.py', run_name='__main__')"
            if program == "train.py"
            else "import anatpaste_gpu.cli; raise SystemExit(anatpaste_gpu.cli.train_command())"
        )
        done = run(code, ("jsonargparse",))
        assert done.returncode == WRONG_USAGE
        assert done.stderr.startswith("anatpaste train: this command needs jsonargparse")
        assert len(done.stderr.splitlines()) == 1

    @pytest.mark.parametrize(
        ("layer", "module", "extra"),
        [
            *((layer, "PIL", "data") for layer in ("data", "data.images")),
            *((layer, "safetensors", "train") for layer in ("methods", "training")),
            *((layer, "yaml", "train") for layer in ("runs", "runs.config", "training")),
            ("evaluation", "scipy", "train"),
            *((layer, "matplotlib", "report") for layer in ("report", "report.render")),
        ],
    )
    def test_layers_say_what_they_need(self, layer: str, module: str, extra: str) -> None:
        done = run(f"import anatpaste_gpu.{layer}", (module,))
        package = PACKAGES.get(module, module)
        asked = f"anatpaste_gpu.{layer.partition('.')[0]}"
        assert done.stderr.splitlines()[-1] == (
            f"anatpaste_gpu.extras.MissingExtra: {asked} needs {package}, which is not installed; "
            f'pip install "anatpaste_gpu[{extra}]" brings it.'
        )

    def test_dicom_files_need_pydicom(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from anatpaste_gpu.data import read_image
        from anatpaste_gpu.data.headers import read_header

        (tmp_path / "x.dcm").write_bytes(b"\0" * 128 + b"DICM")
        monkeypatch.setitem(sys.modules, "pydicom", None)
        ending = re.escape(
            'needs pydicom, which is not installed; pip install "anatpaste_gpu[data]" brings it.'
        )
        with pytest.raises(MissingExtra, match=f"^Reading a DICOM file {ending}$"):
            read_image(tmp_path / "x.dcm", 64)
        with pytest.raises(MissingExtra, match=f"^Reading a DICOM header {ending}$"):
            read_header(tmp_path / "x.dcm")

    def test_missing_package_within_a_command(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "x.dcm").write_bytes(b"\0" * 128 + b"DICM")
        monkeypatch.setitem(sys.modules, "pydicom", None)
        assert main(["augment", str(tmp_path / "x.dcm"), "--folder", str(tmp_path)]) == WRONG_USAGE
        assert capsys.readouterr().err.startswith("anatpaste augment: Reading a DICOM file needs pydicom")

    def test_grad_cam_needs_its_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from anatpaste_gpu.methods.pretext.heat_map import _grad_cam_class

        monkeypatch.setitem(sys.modules, "pytorch_grad_cam", None)
        with pytest.raises(MissingExtra, match=r'^Grad-CAM needs grad-cam, .* "anatpaste_gpu\[report\]"'):
            _grad_cam_class()

    def test_training_without_pictures(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from anatpaste_gpu.cli.pictures import run_pictures

        said: list[str] = []
        assert run_pictures(said.append) is not None
        monkeypatch.delitem(sys.modules, "anatpaste_gpu.report")
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        assert run_pictures(said.append) is None
        assert said == [
            "No pictures will be drawn: anatpaste_gpu.report needs matplotlib, which is not installed; "
            'pip install "anatpaste_gpu[report]" brings it.'
        ]


class TestDeclarations:
    def test_core(self) -> None:
        assert requirements(None) == {
            *("torch", "torchvision", "kornia", "numpy", "scikit-learn", "typing-extensions")
        }

    @pytest.mark.parametrize("extra", MODULES)
    def test_an_extra_brings_what_it_asks_for(self, extra: str) -> None:
        assert {PACKAGES.get(module, module) for module in MODULES[extra]} <= requirements(extra)

    def test_dicom_results_come_with_what_draws_their_heat_maps(self) -> None:
        assert "grad-cam" in requirements("dicom-out")

    def test_all_leaves_out_the_gpl(self) -> None:
        brought = requirements("all")
        assert brought >= requirements("data") | requirements("train") | requirements("report")
        assert not brought & requirements("dicom")
        assert requirements("test") >= brought

    def test_whatever_is_imported_is_declared(self) -> None:
        """By the core, for what the core's layers import, or by any extra that users are told of."""
        names = {**PACKAGES, "sklearn": "scikit-learn", "typing_extensions": "typing-extensions"}
        names["PIL"] = "torchvision"  # which requires Pillow and imports it
        core = requirements(None)
        everything = core | requirements("all") | requirements("openvino") | requirements("serve")
        everything |= requirements("ray")
        everything |= requirements("dicom-out") | requirements("mlflow") | requirements("wandb")
        upper = {"data", "methods", "evaluation", "runs", "export", "training", "api"}
        upper |= {"cluster", "report", "reproduce", "serve", "cli"}
        undeclared = [
            f"{name}: {target}"
            for name, path in OUR_MODULES.items()
            for target in {target.split(".")[0] for target, _ in imported(path)}
            if target not in sys.stdlib_module_names
            and target != "anatpaste_gpu"
            and names.get(target, target) not in (everything if layer_of(name) in upper else core)
        ]
        assert not undeclared


def test_require_passes_what_is_there() -> None:
    require("This test", "data")
    require("This test", "data", "numpy")
