"""The training config: YAML, presets, command line, and its complaints."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import yaml

from anatpaste_gpu import AnatPasteConfig
from anatpaste_gpu.cli.train import main, parse, preset_names
from anatpaste_gpu.methods import get_method, method_names
from anatpaste_gpu.runs.config import preset_config
from anatpaste_gpu.training import TrainConfig


def test_defaults_are_the_papers_recipe() -> None:
    config = TrainConfig.of()
    recipe, schedule = config.recipe, config.recipe.schedule
    sizes = (recipe.image_size, schedule.batch_size, schedule.epochs, schedule.steps_per_epoch)
    assert sizes == (256, 64, 256, 256)
    assert (schedule.learning_rate, schedule.momentum, schedule.weight_decay) == (0.03, 0.9, 3e-5)
    assert (schedule.validate_every, recipe.scoring.kde.bandwidth) == (10, 1.0)
    assert (recipe.network.backbone, recipe.network.weights) == ("resnet18", None)
    assert recipe.pasting.augmentation == AnatPasteConfig.paper()
    assert parse([]) == config, "the default preset is the paper's"


def test_yaml_round_trip(tmp_path: Path) -> None:
    config = TrainConfig.of(
        seed=7, learning_rate=1e-3, weights="some.pth", augmentation=AnatPasteConfig.official(), workers=2
    )
    assert TrainConfig.from_yaml(config.to_yaml()) == config
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert parse(["--preset", "cpu", "--config", str(tmp_path / "config.yaml")]) == config


@pytest.mark.parametrize("name", preset_names())
def test_presets_load_and_name_only_known_fields(name: str) -> None:
    config = parse(["--preset", name])
    file = Path(__file__).parent.parent / "anatpaste_gpu" / "runs" / "presets" / f"{name}.yaml"
    for field, value in yaml.safe_load(file.read_text()).items():
        assert config.to_dict()[field] == value


@pytest.mark.parametrize("name", preset_names())
@pytest.mark.parametrize(
    "method", [name for name in method_names() if get_method(name).weights != "required"]
)
def test_a_preset_of_a_method_is_what_the_command_line_makes_of_it(name: str, method: str) -> None:
    assert preset_config(name, method) == parse(["--preset", name, "--method", method])


def test_best_is_a_memory_unless_another_method_is_named() -> None:
    best = parse(["--preset", "best"])
    assert best == preset_config("best") == parse(["--preset", "best", "--method", "memory"])
    assert best == parse(["--method", "memory", "--image-size", "256", "--memory.smoothing", "1"])
    assert best.recipe.network.weights == "pretrained"
    assert parse(["--preset", "best", "--image-size", "224"]).recipe.image_size == 224
    assert parse(["--preset", "best", "--method", "anatpaste"]) == parse([])


def test_cpu_preset_is_a_thousand_steps_with_a_few_validations() -> None:
    config = parse(["--preset", "cpu"])
    schedule = config.recipe.schedule
    assert (config.recipe.image_size, schedule.batch_size, config.total_steps) == (128, 32, 1000)
    assert 2 <= sum(schedule.validates_after(epoch) for epoch in range(schedule.epochs)) <= 10


def test_flags_override_files_override_presets(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("epochs: 3\nbatch_size: 8\naugmentation:\n  use_blur: false\n")
    words = ["--preset=smoke", "--config", str(tmp_path / "mine.yaml"), "--batch-size", "4", "--data-root=x"]
    config = parse(words)
    assert config.recipe.image_size == parse(["--preset", "smoke"]).recipe.image_size
    schedule = config.recipe.schedule
    assert (schedule.epochs, schedule.batch_size, config.place.data_root) == (3, 4, "x")
    assert config.recipe.pasting.augmentation == dataclasses.replace(AnatPasteConfig(), use_blur=False)


def test_print_config_is_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--preset", "cpu", "--seed", "5", "--augmentation.margin", "4", "--print_config"])
    (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
    again = parse(["--config", str(tmp_path / "printed.yaml")])
    assert again == parse(["--preset", "cpu", "--seed", "5", "--augmentation.margin", "4"])


def test_learning_rate_follows_torchs_cosine() -> None:
    config = TrainConfig.of(epochs=7, steps_per_epoch=1, learning_rate=0.03)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.03)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=7)
    for epoch in range(7):
        # torch's schedule multiplies its way along, so it collects rounding.
        rate = config.recipe.schedule.learning_rate * config.recipe.schedule.rate_share(epoch)
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        schedule.step()


def test_recipe_hash_tells_recipes_apart_and_not_places() -> None:
    config = TrainConfig.of(seed=1)
    assert config.recipe_hash() != config.replace(seed=2).recipe_hash()
    moved = config.replace(output="elsewhere", data_root="there", gpu=3, threads=1, log_every=7)
    assert config.recipe_hash() == moved.recipe_hash()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("dataset", "cheese", r"dataset must be one of .*demo.*, got 'cheese'"),
        ("backbone", "resnet1", r"backbone must be a torchvision classification model .*got 'resnet1'"),
        ("precision", "half", r"precision must be one of auto, float32, bfloat16, float16, got 'half'"),
        ("segment", "never", r"segment must be one of every_step, once, got 'never'"),
        ("device_budget", -1, r"device_budget must be at least 0, got -1"),
        ("checkpoint_seconds", -1.0, r"checkpoint_seconds must be in \[0\.0, inf\), got -1\.0"),
        ("batch_size", 0, r"batch_size must be at least 1, got 0"),
        ("batch_parts", 0, r"batch_parts must be at least 1, got 0"),
        ("batch_parts", 3, r"batch_parts must be a power of two that divides batch_size 64, got 3"),
        ("batch_parts", 128, r"batch_parts must be a power of two that divides batch_size 64, got 128"),
        ("image_size", 15, r"image_size must be in 16\.\.8192, got 15"),
        ("seed", -1, r"seed must be in 0\.\.9223372036854775807, got -1"),
        ("seed", 2**63, r"seed must be in 0\.\.9223372036854775807"),
        ("gpu", -2, r"gpu must be at least -1, got -2"),
        ("learning_rate", 0.0, r"learning_rate must be in \(0\.0, inf\), got 0\.0"),
        ("learning_rate", float("nan"), r"learning_rate must be in \(0\.0, inf\), got nan"),
        ("momentum", 1.0, r"momentum must be in \[0\.0, 1\.0\), got 1\.0"),
        ("bootstrap_samples", 5, r"bootstrap_samples must be at least 100, got 5"),
    ],
)
def test_exception_values(field: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig.of(**{field: value})  # type: ignore[arg-type]


def test_exception_types() -> None:
    with pytest.raises(TypeError, match=r"epochs must be a whole number, got 1\.5"):
        TrainConfig.of(epochs=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batch_parts above 1 does not go with compile true"):
        TrainConfig.of(batch_parts=2, compile=True)
    with pytest.raises(TypeError, match="augmentation must be an AnatPasteConfig, got dict"):
        TrainConfig.of(augmentation={})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"must have the fields of TrainConfig, not \['typo'\]"):
        TrainConfig.from_yaml(TrainConfig.of().to_yaml() + "typo: 1\n")


def test_a_config_from_before_a_field_was_added_has_its_default() -> None:
    text = TrainConfig.of(seed=3).to_yaml()
    older = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("precision:"))
    assert older != text
    assert TrainConfig.from_yaml(older) == TrainConfig.of(seed=3)


def test_files_of_before_sections_are_read() -> None:
    """Flat, as they still are; the hash is the one that the earlier code gave this recipe."""
    old = {**TrainConfig.of(dataset="demo", method="cutpaste-scar", scorer="knn").to_dict(), "gpu": -1}
    assert all(not isinstance(value, dict) for name, value in old.items() if name != "augmentation")
    config = TrainConfig.from_yaml(yaml.safe_dump(old))
    assert (config.recipe.method, config.recipe.scoring.scorer) == ("cutpaste-scar", "knn")
    assert config.place.gpu == -1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preset", "huge"], "--preset"),
        (["--epochs", "many"], '"epochs"'),
        (["--epochs", "0"], '"epochs": Not of type Count: must be at least 1, got 0'),
        (["--no-such-thing", "1"], "no_such_thing"),
        (["--config", "missing.yaml"], "missing.yaml"),
        (["--augmentation.margin", "-3"], "margin must lie in [0.0, 128.0], got -3.0"),
        (["--dataset", "cheese"], "dataset must be one of"),
    ],
)
def test_command_line_complaints_are_one_sentence(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("train.py: error: ")
    assert message in lines[0]


def test_unknown_preset_is_told_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--preset", "huge"])
    complaint = capsys.readouterr().err
    assert all(name in complaint for name in ("huge", "paper", "cpu", "smoke"))


def test_config_file_with_an_unknown_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "typo.yaml").write_text("epoch: 3\n")
    with pytest.raises(SystemExit):
        main(["--config", str(tmp_path / "typo.yaml")])
    assert "'epoch' is not accepted" in capsys.readouterr().err
