"""The command line of training: a preset, then config files, then flags, each overriding what came before."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, get_type_hints

from jsonargparse import ArgumentParser, set_parsing_settings
from jsonargparse.typing import register_type

from anatpaste_gpu.cli.outcome import take_any_name
from anatpaste_gpu.cli.pictures import run_pictures
from anatpaste_gpu.distributed import RankLost, speaks
from anatpaste_gpu.extras import MissingExtra
from anatpaste_gpu.methods import get_method, method_names
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.runs import RunFolder, TrainConfig
from anatpaste_gpu.runs.config import PLACE_NAMES, preset_method, presets
from anatpaste_gpu.setting_types import RESTRICTED, sections, setting_names
from anatpaste_gpu.settings import AnatPasteConfig
from anatpaste_gpu.standard_streams import lasting_streams

DEFAULT_PRESET = "paper"
_PROGRAM = "train.py"
_EPILOG = (
    "Presets: best (detects best, trains nothing, minutes on two CPU cores), smoke (about a minute), demo "
    "(minutes, phantoms), cpu (ten minutes) and paper (256 epochs of 256 steps, for a GPU). The run folder "
    "holds config.yaml, split_manifest.json, model.safetensors, metrics.json, timing.json, scores.csv, "
    "pictures and TensorBoard's log; metrics.json comes last. Exit status: 0 finished, 1 it cannot be done "
    "(a sentence on standard error says why), 2 wrong command line, 128+n stopped by signal n "
    "(130 is Ctrl-C): the same command goes on."
)
_MOVABLE = PLACE_NAMES - {"output", "overwrite"}
# Their settings have flags with a prefix.
_NOT_FLAGS = {"augmentation", "options"}


def run(arguments: Sequence[str]) -> int:
    """anatpaste train: the same command line as train.py."""
    return main(arguments, program="anatpaste train")


def main(arguments: Sequence[str] | None = None, *, program: str = _PROGRAM) -> int:
    """Trains as the command line asks.

    Returns:
        0 when the run is finished, 1 when it cannot be done, 128 + signal when it was interrupted; a wrong
        command line exits with 2.
    """
    take_any_name()
    with lasting_streams():  # a run goes on though `| head` has read enough
        return _main(list(sys.argv[1:] if arguments is None else arguments), program)


def _main(words: list[str], program: str) -> int:
    config, seeds = _parse(words, program)
    folder = RunFolder(config.run_dir)
    if _resumed(words) is not None and folder.metrics.exists():
        _say(f"{folder.path} holds a finished run: there is nothing to continue.")
        return 0
    from anatpaste_gpu.training import Interrupted, train, train_seeds  # here, for --help needs none of it

    try:
        if seeds is None:
            train(config, pictures=run_pictures(_say))
        else:
            train_seeds(config, seeds.numbers, parallel=seeds.parallel, pictures=run_pictures(_say))
    except Interrupted as stopped:
        _say(str(stopped))
        return 128 + stopped.signal_number
    except KeyboardInterrupt:
        _say("Stopped; the same command continues the run.")
        return 128 + signal.SIGINT
    except MissingExtra:
        raise  # the command `anatpaste` says it, as it does for what is missed on import
    except (ValueError, TypeError, OSError, ModuleNotFoundError, RankLost) as error:
        _say(f"{program}: error: {error}")
        return 1
    return 0


def _say(sentence: str) -> None:
    """Says why it ends: once, however many processes share the run."""
    if speaks():
        print(sentence, file=sys.stderr, flush=True)


def parse(arguments: Sequence[str], *, program: str = _PROGRAM) -> TrainConfig:
    """The config that a command line asks for; exits with 2 and one sentence if it is wrong."""
    return _parse(arguments, program)[0]


#: Flags that are no settings of a config.
_OTHER_FLAGS = {"preset", "config", "resume", "seeds", "seeds_parallel"}


class _Seeds(NamedTuple):
    numbers: list[int]
    parallel: bool


def _parse(arguments: Sequence[str], program: str) -> tuple[TrainConfig, _Seeds | None]:
    words = [_with_underscores(word) for word in arguments]
    run = _resumed(words)
    if run is None:
        words = _defaults_of_method(words) + words
    parser = build_parser(_preset_of(words), program=program, run=run)
    try:
        stored = None if run is None else RunFolder(run).stored_config()
        values = parser.parse_args(words)
        content = vars(parser.instantiate(values))
        seeds = None if content["seeds"] is None else _Seeds(content["seeds"], content["seeds_parallel"])
        config = _config_of(content)
        if seeds is not None:
            from anatpaste_gpu.training.seeds import seed_configs

            seed_configs(config, seeds.numbers)  # refuses what cannot be used
        return (config if stored is None else _continuing(config, stored, words, run)), seeds
    except (ValueError, TypeError) as error:
        parser.error(str(error))


def _config_of(content: dict[str, Any]) -> TrainConfig:
    """The config of parsed flags, with the settings of the chosen method alone."""
    settings = {name: value for name, value in content.items() if name not in _OTHER_FLAGS | _families()}
    method = get_method(settings["method"])
    if method.options is not None:
        settings["options"] = content[method.family]
    return TrainConfig.of(**settings)


def _families() -> set[str]:
    return {get_method(name).family for name in method_names()}


def preset_names() -> list[str]:
    """Names that --preset takes."""
    return list(presets())


def build_parser(
    preset: str = DEFAULT_PRESET, *, program: str = _PROGRAM, run: Path | None = None
) -> ArgumentParser:
    """The parser, with the values of a preset, or of a run to be continued, as its defaults."""
    defaults = presets()[preset] if run is None else RunFolder(run).config
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    for number in RESTRICTED:
        register_type(number, serializer=int if issubclass(number, int) else float)
    parser = _Parser(
        prog=program,
        description="Trains an anomaly detector on normal chest radiographs and reports how well it does. "
        + NOT_FOR_CLINICAL_USE,
        epilog=_EPILOG,
        default_config_files=[str(defaults)],
    )
    parser.add_argument(
        "--preset",
        choices=preset_names(),
        default=preset,
        help="Set of defaults; see anatpaste_gpu/runs/presets.",
    )
    parser.add_argument("--config", action="config", help="YAML file of settings that override the preset's.")
    parser.add_argument(
        "--resume",
        metavar="RUN_DIR",
        help="Continue the unfinished run in this folder, exactly: its config.yaml has all settings. Only "
        f"those that say where a run happens may be given beside it: {', '.join(sorted(_MOVABLE))}.",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        help="Train one run a seed, each in a folder of its own in the output (default: "
        "runs/<dataset>-seeds), and write summary.json with means, standard deviations, intervals and the "
        "ensemble. Finished runs are kept; the same command goes on with the others.",
    )
    parser.add_argument(
        "--seeds_parallel",
        type=bool,
        default=False,
        help="With --seeds under torchrun: every process trains runs of its own, in place of all processes "
        "one run after the other.",
    )
    for section in sections(TrainConfig):
        names = set(get_type_hints(section))
        parser.add_class_arguments(section, skip=names & _NOT_FLAGS | names - set(setting_names(section)))
    parser.add_class_arguments(AnatPasteConfig, "augmentation")
    for family, options in _own_settings().items():
        parser.add_class_arguments(options, family)
    return parser


def _own_settings() -> dict[str, type]:
    """Dataclass of each family of methods that has settings of its own."""
    methods = [get_method(name) for name in method_names()]
    return {method.family: method.options for method in methods if method.options is not None}


class _Parser(ArgumentParser):
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """One sentence in place of a usage text that hides it; exits with 2."""
        sentence = " ".join(str(message).split())
        _say(f"{self.prog}: error: {sentence} (--help lists all options.)")
        self.exit(2)
        raise SystemExit(2)


def _defaults_of_method(words: Sequence[str]) -> list[str]:
    """Flags that a method takes in place of the preset's; those that are given override them."""
    scout = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    scout.add_argument("--method", default=preset_method(_preset_of(words)))
    name = scout.parse_known_args(words)[0].method
    if name not in method_names():  # the real parser refuses it
        return []
    settings = get_method(name).settings_for(_preset_of(words))
    return [f"--{flag}={value}" for flag, value in settings.items()]


def _preset_of(words: Sequence[str]) -> str:
    """The preset, looked up before parsing because it supplies the parser's defaults."""
    scout = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    scout.add_argument("--preset", default=DEFAULT_PRESET)
    chosen: str = scout.parse_known_args(words)[0].preset
    # The real parser refuses an unknown name, and says which ones there are.
    return chosen if chosen in preset_names() else DEFAULT_PRESET


def _resumed(words: Sequence[str]) -> Path | None:
    """The run to be continued, looked up before parsing because it supplies the parser's defaults."""
    scout = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    scout.add_argument("--resume", type=Path)
    chosen: Path | None = scout.parse_known_args(list(words))[0].resume
    return chosen


def _continuing(
    config: TrainConfig, stored: TrainConfig, words: Sequence[str], run: Path | None
) -> TrainConfig:
    """The stored config with another place; ValueError where a word asks for another run."""
    for option in ("--preset", "--output", "--overwrite", "--seeds"):
        if any(word.partition("=")[0] == option for word in words):
            raise ValueError(f"--resume {run} says all that {option} could; leave {option} out.")
    difference = stored.difference(config)
    if difference is not None:
        name, own, wanted = difference
        raise ValueError(
            f"--resume {run} continues a run with {name} {own!r}, which cannot become {wanted!r} "
            "half-way; start another run for that."
        )
    return config.replace(output=str(run), overwrite=False)


def _with_underscores(word: str) -> str:
    """--data-root as --data_root: both spellings are accepted."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return f"--{name[2:].replace('-', '_')}{equals}{value}"


if __name__ == "__main__":
    raise SystemExit(main())
