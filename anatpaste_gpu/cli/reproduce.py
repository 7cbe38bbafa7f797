"""anatpaste reproduce: one of the paper's tables, from the runs to the page."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table as TerminalTable

from anatpaste_gpu.cli.options import add_gpu_option, add_threads_option
from anatpaste_gpu.cli.outcome import DONE, FAILED, PARTLY_DONE, say, with_sentences
from anatpaste_gpu.cli.train import parse, preset_names
from anatpaste_gpu.data import dataset_names
from anatpaste_gpu.files import write_atomically
from anatpaste_gpu.methods import Method, get_method, method_names
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.report.render import write_report
from anatpaste_gpu.report.sheet import Study
from anatpaste_gpu.reproduce.experiments import TABLES, Table, plan_runs
from anatpaste_gpu.reproduce.results import read_records
from anatpaste_gpu.reproduce.study import PAPER_SEEDS, build_study, to_csv, to_json
from anatpaste_gpu.reproduce.work import Outcome, carry_out
from anatpaste_gpu.runs import Run, TrainConfig, load_runs
from anatpaste_gpu.training import Interrupted

_DESCRIPTION = """\
Fills one of the paper's tables: trains and tests every method on every data set, and sets
the paper's figures beside the results. A rival with a budget of its own has that; a system
without public code is quoted and not run. Finished runs are kept: after Ctrl-C the same
command goes on where it stopped. A data set that is not there is named, with where it
comes from, and left out.
"""
_PROGRAM = "anatpaste reproduce"
_EXAMPLES = """\
examples:
  # minutes on two CPU cores; CheXpert is left out and the output says so
  anatpaste reproduce --table 1 --preset smoke --gpu -1 -o out \\
      --data-root zhanglab=DIR rsna=DIR
  # the paper's numbers: 256 x 256, 65,536 steps, seeds 0 to 4; made for a GPU
  anatpaste reproduce --table 1 --preset paper -o paper \\
      --data-root zhanglab=DIR chexpert=DIR rsna=DIR
  # whatever `anatpaste train` takes may follow two dashes
  anatpaste reproduce --table 3 --preset cpu --dataset demo -o demo -- --epochs 4

what is written below -o:
  runs/DATA_SET-METHOD-seedN/   ordinary run folders; tables share them
  tableN.md, tableN.csv, tableN.json, tableN.html

exit status: 0 done, 1 it cannot be done, 2 wrong command line, 3 done in part: a data set
is not there or a run failed (each is named on standard error), 128+n stopped by a signal.
"""


@with_sentences("reproduce")
def run(arguments: Sequence[str]) -> int:
    """The command; returns its exit status."""
    own, training = _divide(list(arguments))
    parser = _build_parser()
    options = parser.parse_args(own)
    table = TABLES[options.table]
    datasets = options.dataset or list(table.datasets)
    roots = _roots(parser, options.data_root)
    seeds = options.seeds or list(range(PAPER_SEEDS if options.preset == "paper" else 1))
    words = ["--preset", options.preset, "--dataset", datasets[0], *training, "--gpu", str(options.gpu)]
    words += ["--threads", str(options.threads)]
    base = parse(words, program=_PROGRAM)
    methods = options.method or list(table.methods)
    configs, left_out = plan_runs(
        base,
        options.output / "runs",
        datasets,
        methods,
        seeds,
        roots=roots,
        weights=options.weights,
        own=_own_configs(methods, options.preset, words, options.weights),
    )
    console = Console(stderr=True)
    try:
        outcome = carry_out(configs, console)
    except Interrupted as stopped:
        say("reproduce", f"{stopped} Finished runs are kept.")
        return 128 + stopped.signal_number
    gaps = [f"{name}: {why}" for name, why in outcome.missing.items()] + outcome.failed
    for gap in [*left_out, *gaps]:
        say("reproduce", gap)
    if not outcome.finished:
        say("reproduce", "no run could be made, so there is no table.")
        return FAILED
    _write(table, outcome, options, [*left_out, *_without_places(gaps, roots)])
    say("reproduce", NOT_FOR_CLINICAL_USE)
    return PARTLY_DONE if gaps else DONE


def _own_configs(
    methods: Sequence[str], preset: str, words: list[str], weights: str | None
) -> dict[str, TrainConfig]:
    """Configs of the methods that take settings of their own in place of a preset's.

    A method that needs weights has its own where no file is given for all; a file's backbone is the one that
    the command line names.
    """

    def has_own(method: Method) -> bool:
        settings = method.settings_for(preset)
        if method.weights == "required":
            return weights is None and "weights" in settings
        return bool(settings)

    return {
        name: parse(["--method", name, *words], program=_PROGRAM)
        for name in methods
        if has_own(get_method(name))
    }


def _write(table: Table, outcome: Outcome, options: argparse.Namespace, left_out: list[str]) -> None:
    """Prints the tables and writes all files."""
    runs = load_runs(outcome.finished)
    study = build_study(table, runs, options.preset, left_out)
    records = read_records(runs)
    stem = options.output / f"table{table.number}"
    files = {
        ".md": study.markdown(),
        ".csv": to_csv(records, table.published()),
        ".json": to_json(study, records, runs, table.published()),
    }
    for suffix, text in files.items():
        write_atomically(stem.with_suffix(suffix), text)
    _print(study)
    _write_page(runs, study, stem.with_suffix(".html"), images=options.images)
    print(f"\nWritten: {', '.join(str(stem.with_suffix(suffix)) for suffix in (*files, '.html'))}")


def _write_page(runs: list[Run], study: Study, page: Path, *, images: bool) -> None:
    """The report of the first seed's runs, the tables above it."""
    first = min(int(run.metrics["seed"]) for run in runs)
    shown = [run for run in runs if int(run.metrics["seed"]) == first]
    try:
        write_report(shown, page, images=images, study=study)
    except (ValueError, ModuleNotFoundError) as error:
        if not images:
            raise
        say("reproduce", f"the page has no pictures: {error}")
        write_report(shown, page, images=False, study=study)


def _print(study: Study) -> None:
    console = Console(width=None if sys.stdout.isatty() else 120)
    for sheet in study.sheets:
        shown = TerminalTable(title=escape(sheet.title), title_justify="left", title_style="bold")
        for number, column in enumerate(sheet.columns):
            shown.add_column(escape(column), justify="right" if number else "left", overflow="fold")
        for row in sheet.rows:
            shown.add_row(*map(escape, row))
        console.print(shown)
    for note in study.notes:
        console.print(f"- {escape(note)}", highlight=False)


def _without_places(sentences: list[str], roots: dict[str, str]) -> list[str]:
    """Without the paths of this machine, so that a table can be passed on."""
    for name, root in roots.items():
        sentences = [sentence.replace(root, f"<{name}>") for sentence in sentences]
    return sentences


def _divide(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The command's own words, and those behind `--`, which are training's."""
    if "--" not in arguments:
        return arguments, []
    place = arguments.index("--")
    return arguments[:place], arguments[place + 1 :]


def _roots(parser: argparse.ArgumentParser, words: list[str] | None) -> dict[str, str]:
    roots = {}
    for word in words or []:
        name, equals, folder = word.partition("=")
        if not equals or not folder or name not in dataset_names():
            names = ", ".join(dataset_names())
            parser.error(f"--data-root takes NAME=DIR with NAME one of {names}, got {word!r}.")
        roots[name] = folder
    return roots


def _build_parser() -> argparse.ArgumentParser:
    tables = "\n".join(f"  {number}  {table.name}: {table.title}" for number, table in TABLES.items())
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description=f"{_DESCRIPTION}{NOT_FOR_CLINICAL_USE}\n\ntables:\n{tables}",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--table", type=int, required=True, choices=tuple(TABLES))
    parser.add_argument(
        "--preset",
        choices=preset_names(),
        default="smoke",
        help="budget of every run, as `anatpaste train` has it (default: smoke)",
    )
    parser.add_argument(
        "--dataset", nargs="+", choices=dataset_names(), metavar="NAME",
        help=f"default: the table's; one or more of {', '.join(dataset_names())}",
    )  # fmt: skip
    parser.add_argument(
        "--data-root",
        nargs="+",
        action="extend",
        metavar="NAME=DIR",
        help="where a data set is; demo needs none",
    )
    parser.add_argument(
        "--method", nargs="+", choices=method_names(), metavar="NAME",
        help=f"default: the table's; one or more of {', '.join(method_names())}",
    )  # fmt: skip
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        metavar="N",
        help="each makes a run of every method (default: 0; 0 to 4 with --preset paper)",
    )
    parser.add_argument(
        "--weights", metavar="FILE", help="ImageNet weights of the backbone, for method imagenet"
    )
    add_gpu_option(parser)
    add_threads_option(parser)
    parser.add_argument(
        "--no-images", dest="images", action="store_false", help="a page of numbers alone, without Grad-CAM"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder of it all")
    return parser
